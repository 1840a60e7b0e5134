// Looking around in a peer's shares, a folder at a time; a folder of a million files comes page by page.
import { attempt, copyButton, empty, tool } from "./dialog.js";
import { el, fill } from "./dom.js";
import { ago, kind, link, size, tail } from "./format.js";
import { icon } from "./icons.js";
import { List } from "./list.js";
import { get } from "./api.js";
import { fetchRef } from "./search.js";

const PAGE = 200;

export function browseView(view, peer, path) {
  const isMine = peer === "me";
  let items = [];
  let next = null;
  let loading = false;
  let closed = false;
  const list = new List({ label: "Files", key: (item) => item.path, foldable: false, row: (item) => row(item, peer, isMine), more: () => load() });
  const nothing = el("div", { cls: "body" });
  const note = el("p", { cls: "quiet small", role: "status" }, "…");
  const name = el("span", {}, isMine ? "Your shares" : tail(peer));

  async function load() {
    if (loading || closed) return;
    loading = true;
    try {
      const page = await get(`peers/${encodeURIComponent(peer)}/files`, { path, after: next, limit: PAGE });
      if (closed) return;
      items = items.concat(page.items);
      next = page.next;
      list.set(items, items.length + (next ? 1 : 0));
      note.textContent = `${items.length}${next ? "+" : ""} here`;
      nothing.classList.add("hidden");
      list.element.classList.remove("hidden");
    } catch (error) {
      if (closed || items.length) return;
      note.textContent = "";
      list.element.classList.add("hidden");
      fill(nothing, empty("folder", "Nothing to see here", error.message));
    } finally {
      loading = false;
    }
  }

  const names = path.split("/").filter(Boolean);
  const crumb = (label, to, current) => el("button", { cls: "plain", type: "button", "aria-current": current && "location", onclick: () => { location.hash = way(peer, to); } }, label);
  const crumbs = el("nav", { cls: "crumbs", "aria-label": "Folder" }, crumb(name, "", names.length === 0), names.flatMap((part, at) => [el("span", { cls: "faint", "aria-hidden": true }, "/"), crumb(part, names.slice(0, at + 1).join("/"), at === names.length - 1)]));
  const whole = names.length > 0 && !isMine && tool("download", "Download this folder", () => fetchRef(`${peer}:${path}`, names.at(-1)), { cls: "primary" });
  fill(
    view,
    el("header", {}, el("div", { cls: "title" }, el("a", { cls: "button plain iconic", href: isMine ? "#shares" : "#peers", "aria-label": "Back" }, icon("back")), el("h1", { cls: "sr" }, "Files"), crumbs, note, el("div", { cls: "tools" }, whole))),
    el("div", { cls: "body flush" }, list.element, nothing),
  );
  list.element.classList.add("hidden");
  load();
  if (!isMine) nameOf(peer).then((found) => found && (name.textContent = found));
  return () => { closed = true; list.close(); };
}

const way = (peer, path) => `#peers/${encodeURIComponent(peer)}/${encodeURIComponent(path)}`;

async function nameOf(peer) {
  const page = await attempt(() => get("peers", { limit: 1000 }));
  return page?.items.find((line) => line.peer_id === peer)?.nickname;
}

function row(item, peer, isMine) {
  const name = item.path.split("/").at(-1);
  const isFolder = item.kind === "folder";
  const open = way(peer, item.path);
  const ref = item.content_id ? link(item.content_id, name, item.size) : `${peer}:${item.path}`;
  return el(
    "div", { cls: "main" },
    el("span", { cls: isFolder ? "kind folder" : "kind" }, icon(isFolder ? "folder" : kind(name))),
    el("div", { cls: "names" }, isFolder ? el("a", { cls: "name link", href: open }, name) : el("span", { cls: "name" }, name), !isFolder && el("span", { cls: "where" }, item.content_id ? `changed ${ago(item.mtime)}` : "not hashed yet")),
    !isFolder && el("span", { cls: "size num" }, size(item.size)),
    el(
      "div", { cls: "acts" },
      item.content_id && copyButton(ref, `Copy link to ${name}`),
      !isMine && el("button", { cls: "plain iconic", type: "button", title: "Download", "aria-label": `Download ${name}`, onclick: () => fetchRef(ref, name) }, icon("download")),
    ),
  );
}
