// Peers: who is there, and the way into their shares.
import { ask, attempt, copyButton, empty, tool } from "./dialog.js";
import { avatar, el, fill } from "./dom.js";
import { browseView } from "./browse.js";
import { size, some, tail } from "./format.js";
import { icon } from "./icons.js";
import { List } from "./list.js";
import { get, poll, post } from "./api.js";

const PAGE = 1000;

export function peersView(view, [peer, path]) {
  if (peer) return browseView(view, peer, path ?? "");
  const list = new List({ label: "Peers", key: (line) => line.peer_id, row: (line, index, isOpen) => row(line, isOpen, list) });
  const nothing = el("div", { cls: "body" });
  const note = el("p", { cls: "quiet small", role: "status" });

  async function refresh() {
    let page;
    try {
      page = await get("peers", { limit: PAGE });
    } catch (error) {
      page = { items: [], total: 0, trouble: error.message };
    }
    const none = page.items.length === 0;
    note.textContent = none ? "" : `${some(page.total, "peer")} online`;
    nothing.classList.toggle("hidden", !none);
    list.element.classList.toggle("hidden", none);
    if (none) fill(nothing, empty("peers", "Nobody else is here yet", page.trouble ?? "Peers show up as they register at the same tracker. Invite somebody, or connect to a peer whose address you know.", el("a", { cls: "button primary", href: "#status" }, icon("invite"), "Invite somebody")));
    list.set(page.items, page.items.length);
  }

  fill(
    view,
    el("header", {}, el("div", { cls: "title" }, el("h1", {}, "Peers"), note, el("div", { cls: "tools" }, tool("plus", "Connect by address", () => dial().then(refresh))))),
    el("div", { cls: "body flush" }, list.element, nothing),
  );
  const stop = poll(refresh, 3000);
  return () => { stop(); list.close(); };
}

async function dial() {
  const given = await ask("Connect by address", [el("label", {}, "What `potluck id` prints over there", el("input", { name: "address", required: true, autofocus: true, placeholder: "/ip4/192.168.1.7/tcp/9471/p2p/12D3KooW…", spellcheck: "false" }))], "Connect");
  if (given?.address) await attempt(() => post("dial", { address: given.address.trim() }), "Connected");
}

function row(line, isOpen, list) {
  const name = line.nickname || tail(line.peer_id);
  const browse = `#peers/${encodeURIComponent(line.peer_id)}`;
  return [
    el(
      "div", { cls: "main" },
      avatar(name),
      el("div", { cls: "names" }, el("a", { cls: "name link", href: browse }, name), el("span", { cls: "where mono" }, `…${tail(line.peer_id)}`)),
      el("span", { cls: "size num" }, line.files === null ? "" : some(line.files, "file")),
      el("span", { cls: "size num" }, size(line.bytes)),
      el("div", { cls: "acts" }, el("a", { cls: "button plain", href: browse, "aria-label": `Look around at ${name}’s` }, icon("folder"), el("span", { cls: "wide-only" }, "Look around")), el("button", { cls: "plain iconic", type: "button", "aria-expanded": String(isOpen), "aria-label": `More about ${name}`, onclick: () => list.toggle(line.peer_id) }, icon("chevron"))),
    ),
    isOpen &&
      el(
        "div", { cls: "more" },
        el("div", { cls: "lines" }, [line.peer_id, ...line.addresses].map((text) => el("div", { cls: "line" }, el("code", { cls: "cut grow" }, text), copyButton(text)))),
      ),
  ];
}
