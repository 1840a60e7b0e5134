// The page of a tracker: who is there, what is searched, who was invited. It changes nothing.
import { get, poll, remove, whenSignedOut } from "./api.js";
import { attempt, copyButton, empty, tool } from "./dialog.js";
import { avatar, el, fill } from "./dom.js";
import { ago, count, size, some, tail } from "./format.js";
import { arrive, mark, navigation } from "./frame.js";
import { icon } from "./icons.js";
import { List } from "./list.js";
import { signinView } from "./signin.js";

const VIEWS = {
  status: { name: "Tracker", icon: "status", view: statusView },
  peers: { name: "Peers", icon: "peers", view: peersView },
  members: { name: "Members", icon: "share", view: membersView },
};
/** Peers that are asked for at once. */
const STEP = 200;

const app = document.getElementById("app");
const SIGN_IN = { title: "Sign in to your tracker", machine: "tracker", command: "potluck-tracker page" };
let close = () => {};
let frame;

function draw() {
  const { nav, links } = navigation(VIEWS);
  const view = el("main", { id: "view", cls: "view", tabindex: -1 });
  const brand = el("div", { cls: "brand" }, el("img", { src: "/page/icon.svg", alt: "" }), "Tracker");
  fill(app, el("div", { cls: "frame" }, el("div", { cls: "rail" }, brand, nav), view));
  frame = { view, links };
}

function show() {
  if (!frame) return;
  const asked = location.hash.slice(1);
  const key = asked in VIEWS ? asked : "status";
  close();
  mark(frame.links, key);
  document.title = `${VIEWS[key].name} · Potluck tracker`;
  frame.view.replaceChildren();
  close = VIEWS[key].view(frame.view) ?? (() => {});
}

function head(title, ...tools) {
  return el("header", {}, el("div", { cls: "title" }, el("h1", {}, title), el("div", { cls: "tools" }, tools)));
}

const fact = (name, ...value) => [el("dt", {}, name), el("dd", {}, value)];
const card = (title, wide, ...children) => el("section", { cls: wide ? "card wide" : "card", "aria-label": title }, el("h2", {}, title), children);

/** What only the database of a shared index knows is null. */
const offered = ({ files, bytes }) => (files === null ? [] : [some(files, "file"), size(bytes)]);

function filesOf(status) {
  if (status.shares_index) return status.ready ? "in the database that the trackers share, not counted here" : "in the database that the trackers share, which does not answer";
  return status.ready ? count(status.files) : "being read from the disk";
}

function nameOf(peer) {
  return peer.nickname === null ? `…${tail(peer.peer_id)}` : peer.nickname || "(a program without a name)";
}

function statusView(view) {
  const facts = el("dl", { cls: "facts" });
  const addresses = el("ul", { cls: "lines" });
  const namespaces = el("ul", { cls: "lines", id: "namespaces" });
  const log = el("ul", { cls: "lines", id: "events" });
  const leave = async () => {
    await attempt(() => remove("session"));
    location.reload();
  };
  async function refresh() {
    const status = await attempt(() => get("status"));
    if (!status) return;
    fill(
      facts,
      fact("Kind", status.private ? `private, ${some(status.members, "member")}` : "open to everybody who knows its address"),
      fact("Peers", `${count(status.peers)}${status.shares_index ? " at this tracker" : ""}, ${some(status.connections, "connection")}`),
      fact("Files", filesOf(status)),
      fact("Searches", `${status.searches_per_second.toFixed(1)} a second, ${count(status.searches)} since it started`),
      fact("Changes taken", count(status.publishes)),
      fact("Requests refused", count(status.refused)),
    );
    fill(addresses, status.addresses.map((address) => el("li", {}, el("code", { cls: "grow" }, address), copyButton(address))));
    fill(namespaces, status.namespaces.map((line) =>
      el("li", {}, el("span", { cls: "pill" }, line.namespace), el("span", { cls: "grow" }, [some(line.peers, "peer"), ...offered(line)].join(", ")), line.parked > 0 && el("span", { cls: "quiet" }, `${count(line.parked)} away`))));
    if (status.namespaces.length === 0) fill(namespaces, el("li", { cls: "quiet" }, "Nobody has registered yet."));
    fill(log, status.events.map((event) => el("li", {}, el("span", { cls: "pill" }, ago(event.at)), el("span", { cls: "grow" }, `${event.peer} ${event.event}`))));
  }
  fill(
    view,
    head("Tracker", tool("leave", "Sign out", leave)),
    el("div", { cls: "body" }, el("div", { cls: "cards" }, card("Now", false, facts), card("Namespaces", false, namespaces), card("Addresses", true, addresses), card("What happened", true, log))),
  );
  return poll(refresh, 2000);
}

function peersView(view) {
  const list = new List({
    label: "Peers",
    foldable: false,
    key: (peer) => `${peer.namespace} ${peer.peer_id}`,
    more: () => load(false),
    row: (peer) => [
      el(
        "div", { cls: "main" },
        avatar(peer.nickname || "?"),
        el("div", { cls: "names" }, el("span", { cls: "name" }, nameOf(peer)), el("span", { cls: "where mono" }, `${peer.namespace} …${tail(peer.peer_id)} ${peer.addresses[0] ?? ""}`)),
        offered(peer).map((text) => el("span", { cls: "size num" }, text)),
        el("span", { cls: peer.online ? "pill good" : "pill" }, peer.online ? "online" : "away"),
      ),
    ],
  });
  let items = [];
  let busy = false;
  async function load(again) {
    if (busy) return;
    busy = true;
    const offset = again ? 0 : items.length;
    const page = await attempt(() => get("peers", { offset, limit: Math.max(STEP, again ? Math.min(items.length, 1000) : 0) }));
    busy = false;
    if (!page) return;
    items = again ? page.items : [...items, ...page.items];
    if (page.total === 0) fill(body, empty("peers", "Nobody is here", "Nodes that register appear here."));
    else {
      if (!list.element.isConnected) fill(body, list.element);
      list.set(items, page.total);
    }
  }
  const body = el("div", { cls: "body flush" });
  fill(view, head("Peers"), body);
  const stop = poll(() => load(true), 5000);
  return () => {
    stop();
    list.close();
  };
}

function membersView(view) {
  const invited = el("ul", { cls: "lines", id: "invitations" });
  const joined = el("ul", { cls: "lines", id: "members" });
  const rights = (line) => (line.read_only ? " (read only)" : "");
  async function refresh() {
    const [invitations, members] = (await attempt(() => Promise.all([get("invitations"), get("members")]))) ?? [];
    if (!members) return;
    fill(invited, invitations.map((line) =>
      el("li", {}, el("span", { cls: line.state === "open" ? "pill good" : "pill" }, line.state.replace("_", " ")), el("code", {}, line.id), el("span", { cls: "grow" }, `${line.namespace}${rights(line)}, ${line.used} of ${line.uses} used`), el("span", { cls: "quiet small" }, line.expires ? `until ${line.expires}` : ""))));
    fill(joined, members.map((line) =>
      el("li", {}, avatar(line.nickname || "?", true), el("span", { cls: "grow" }, `${line.nickname} …${tail(line.peer_id)}`), el("span", { cls: "quiet small" }, `${[...line.namespaces, ...line.read_only.map((name) => `${name} (read only)`)].join(", ")}, since ${line.joined}`))));
    if (invitations.length === 0) fill(invited, el("li", { cls: "quiet" }, "None. A private tracker makes them: potluck-tracker invite create"));
    if (members.length === 0) fill(joined, el("li", { cls: "quiet" }, "None."));
  }
  fill(view, head("Members"), el("div", { cls: "body" }, el("div", { cls: "cards" }, card("Members", true, joined), card("Invitations", true, invited))));
  return poll(refresh, 5000);
}

function enter() {
  draw();
  show();
}

function leave() {
  close();
  close = () => {};
  frame = undefined;
  fill(app, signinView(enter, SIGN_IN));
}

function start() {
  whenSignedOut(() => frame && leave());
  window.addEventListener("hashchange", show);
  arrive(enter, leave);
}

start();
