// Search: as you type, filters as chips, one row a content with its sources to unfold.
import { attempt, copyButton, empty } from "./dialog.js";
import { avatar, debounce, el, fill } from "./dom.js";
import { count, kind, link, size, some, tail } from "./format.js";
import { icon } from "./icons.js";
import { List } from "./list.js";
import { get, post } from "./api.js";

const PAGE = 100;
const TYPES = [["", "Everything"], ["audio", "Audio"], ["video", "Video"], ["image", "Pictures"], ["document", "Documents"], ["archive", "Archives"], ["folder", "Folders"]];
const SIZES = [["", "Any size"], ["10MiB", "> 10 MiB"], ["100MiB", "> 100 MiB"], ["1GiB", "> 1 GiB"]];

/** What stays between visits of the view. */
const kept = { text: "", type: "", size: "", absent: false };

export function searchView(view, [text]) {
  if (text !== undefined) kept.text = text;
  let asked = 0;
  let hits = [];
  let end = false;
  let stop = new AbortController();
  const input = el("input", {
    type: "search", id: "q", value: kept.text, placeholder: "Search everybody’s shares", "aria-label": "Search everybody’s shares",
    autocomplete: "off", spellcheck: "false", oninput: () => { kept.text = input.value; later(); },
  });
  const chips = el("div", { cls: "chips scroll", role: "group", "aria-label": "Filters" });
  const summary = el("p", { cls: "quiet small", role: "status" });
  const list = new List({ label: "Hits", key: keyOf, row: (hit, index, isOpen) => row(hit, isOpen, list, kept.text), more: () => load() });
  const nothing = el("div", { cls: "body" });
  const body = el("div", { cls: "body flush" }, list.element, nothing);

  function drawChips() {
    const chip = (label, pressed, press) => el("button", { cls: "chip", type: "button", "aria-pressed": String(pressed), onclick: () => { press(); drawChips(); begin(); } }, label);
    fill(
      chips,
      TYPES.map(([value, label]) => chip(label, kept.type === value, () => { kept.type = value; })),
      el("span", { cls: "gap" }),
      SIZES.slice(1).map(([value, label]) => chip(label, kept.size === value, () => { kept.size = kept.size === value ? "" : value; })),
      el("span", { cls: "gap" }),
      chip("Not here yet", kept.absent, () => { kept.absent = !kept.absent; }),
    );
  }

  function query() {
    const words = [kept.text.trim(), kept.type && `type:${kept.type}`, kept.size && `size:>${kept.size}`];
    return words.filter(Boolean).join(" ");
  }

  function begin() {
    stop.abort();
    stop = new AbortController();
    [asked, hits, end] = [0, [], false];
    list.reset();
    list.set([]);
    summary.textContent = "";
    if (query() === "") return blank();
    return load(true);
  }

  let loading = false;
  async function load(fresh = false) {
    if ((loading && !fresh) || end) return;
    loading = true;
    const { signal } = stop;
    try {
      const found = await get("search", { q: query(), offset: asked, limit: PAGE }, signal);
      if (signal.aborted) return;
      asked += PAGE;
      end = found.items.length < PAGE;
      hits = hits.concat(found.items);
      tell(found.note);
    } catch (error) {
      if (error.name === "AbortError") return;
      end = true;
      fill(nothing, empty("search", "The search did not get through", error.message));
      nothing.classList.remove("hidden");
      list.element.classList.add("hidden");
    } finally {
      if (!signal.aborted) loading = false;
    }
  }

  function tell(note) {
    const shown = kept.absent ? hits.filter((hit) => !hit.have) : hits;
    const none = shown.length === 0;
    nothing.classList.toggle("hidden", !none);
    list.element.classList.toggle("hidden", none);
    if (none) fill(nothing, empty("search", "Nothing matches", "Fewer or shorter words find more. Names are searched, with their folders, in everybody’s shares who is online now."));
    list.set(shown, end ? shown.length : shown.length + 1);
    const parts = [`${note.more ? "more than " : ""}${some(note.total, "hit")}`];
    if (note.corrected) parts.push(`searched for “${note.corrected}” instead`);
    if (note.unanswered.length) parts.push(`no answer from ${note.unanswered.length}`);
    summary.textContent = parts.join(" · ");
  }

  async function blank() {
    list.element.classList.add("hidden");
    nothing.classList.remove("hidden");
    fill(nothing, welcome());
    const peers = await attempt(() => get("peers", { limit: 1000 }));
    if (!peers || query() !== "") return;
    const files = peers.items.reduce((sum, peer) => sum + (peer.files ?? 0), 0);
    summary.textContent = peers.total ? `${some(peers.total, "peer")} online with ${some(files, "file")}` : "";
  }

  const later = debounce(begin, 140);
  drawChips();
  fill(
    view,
    el("header", {}, el("h1", { cls: "sr" }, "Search"), el("div", { cls: "search" }, icon("search"), input), chips, summary),
    body,
  );
  if (matchMedia("(min-width: 761px)").matches) input.focus();
  begin();
  return () => { stop.abort(); list.close(); };
}

const keyOf = (hit) => hit.content_id ?? `${hit.peers[0]?.peer_id}:${hit.peers[0]?.path}`;

function welcome() {
  const tip = (code, text) => el("div", {}, el("code", {}, code), ` ${text}`);
  return empty(
    "pot", "What would you like?", "Type a part of any name. All words must be in it, in any order; everybody’s shared folders are searched at once.",
    el("div", { cls: "tips" }, tip("kind of blue", "all of these words"), tip("“kind of blue”", "exactly this"), tip("miles -live", "without a word"), tip("ext:flac size:>10MiB", "of a type and a size"), tip("peer:ada newer:7d", "of a peer, changed this week")),
  );
}

/** What `download` and links call a hit. */
function reference(hit) {
  if (hit.content_id) return link(hit.content_id, hit.name, hit.size);
  const [holder] = hit.peers;
  return holder ? `${holder.peer_id}:${holder.path}` : "";
}

/** Begins a download, and says so. */
export async function fetchRef(ref, name) {
  return attempt(() => post("downloads", { refs: [ref] }), (begun) => `Fetching ${begun.files > 1 ? `${some(begun.files, "file")} of ` : ""}${name}`);
}

function row(hit, isOpen, list, text) {
  const isFolder = hit.kind === "folder";
  const have = { shared: "You share it", downloaded: "Downloaded", downloading: "On its way" }[hit.have];
  const path = hit.peers[0]?.path ?? "";
  const fold = el(
    "button",
    { cls: "pill", type: "button", "aria-expanded": String(isOpen), "aria-label": `${some(hit.sources, "source")} of ${hit.name}`, onclick: () => list.toggle(keyOf(hit)) },
    some(hit.sources, "source"),
  );
  const main = el(
    "div",
    { cls: "main" },
    el("span", { cls: isFolder ? "kind folder" : "kind" }, icon(isFolder ? "folder" : kind(hit.name))),
    el("div", { cls: "names" }, el("span", { cls: "name", title: hit.name }, marked(hit.name, text)), el("span", { cls: "where" }, path.slice(0, -hit.name.length - 1) || path)),
    have && el("span", { cls: "pill good wide-only" }, have),
    el("span", { cls: "size num" }, size(hit.size)),
    el("div", { cls: "side" }, fold),
    el(
      "div",
      { cls: "acts" },
      hit.content_id && el("span", { cls: "wide-only" }, copyButton(reference(hit), `Copy link to ${hit.name}`)),
      el("button", { cls: "plain iconic", type: "button", title: "Download", "aria-label": `Download ${hit.name}`, onclick: () => fetchRef(reference(hit), hit.name) }, icon("download")),
    ),
  );
  return [main, isOpen && sources(hit)];
}

function sources(hit) {
  const holder = ({ peer_id: peer, nickname, path }) =>
    el(
      "li",
      {},
      avatar(nickname || peer, true),
      el("span", { title: peer }, nickname || tail(peer)),
      el("span", { cls: "cut grow faint" }, path),
      el("a", { cls: "link", href: `#peers/${encodeURIComponent(peer)}/${encodeURIComponent(path.split("/").slice(0, -1).join("/"))}` }, "Look around"),
    );
  const others = hit.sources - hit.peers.length;
  return el(
    "div",
    { cls: "more" },
    el("ul", { cls: "lines" }, hit.peers.map(holder), others > 0 && el("li", { cls: "faint" }, `and ${count(others)} more`)),
    hit.content_id && el("div", { cls: "copyline" }, el("code", {}, link(hit.content_id, hit.name, hit.size)), copyButton(link(hit.content_id, hit.name, hit.size), "Copy link")),
  );
}

/** A name with what was searched for set off. */
function marked(name, text) {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]{2,}/gu) ?? [];
  const lower = name.toLowerCase();
  if (lower.length !== name.length) return [name];
  const parts = [];
  let at = 0;
  while (at < name.length) {
    const next = words.map((word) => [lower.indexOf(word, at), word.length]).filter(([place]) => place >= 0).sort((a, b) => a[0] - b[0] || b[1] - a[1])[0];
    if (!next) break;
    parts.push(name.slice(at, next[0]), el("mark", {}, name.slice(next[0], next[0] + next[1])));
    at = next[0] + next[1];
  }
  return [...parts, name.slice(at)];
}
