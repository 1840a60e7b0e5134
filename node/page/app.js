// The frame: signing in, the views and the way between them.
import { toast } from "./dialog.js";
import { el, fill } from "./dom.js";
import { downloadsView } from "./downloads.js";
import { rate } from "./format.js";
import { arrive, mark, navigation } from "./frame.js";
import { icon } from "./icons.js";
import { follow, on, unfollow, whenSignedOut } from "./api.js";
import { peersView } from "./peers.js";
import { searchView } from "./search.js";
import { sharesView } from "./shares.js";
import { signinView } from "./signin.js";
import { statusView } from "./status.js";
import { uploadsView } from "./uploads.js";

const VIEWS = {
  search: { name: "Search", icon: "search", view: searchView },
  downloads: { name: "Downloads", icon: "download", view: downloadsView },
  uploads: { name: "Uploads", icon: "upload", view: uploadsView },
  shares: { name: "Shares", icon: "share", view: sharesView },
  peers: { name: "Peers", icon: "peers", view: peersView },
  status: { name: "Node", icon: "status", view: statusView },
};

const app = document.getElementById("app");
let close = () => {};
let frame;

/** The way in the address: the view, then what it shows; each part is encoded. */
function way() {
  const [view, ...rest] = location.hash.slice(1).split("/").filter(Boolean).map(decodeURIComponent);
  return { view: view in VIEWS ? view : "search", rest };
}

function draw() {
  const { nav, links } = navigation(VIEWS);
  const badge = el("span", { cls: "badge hidden", "aria-label": "open downloads" });
  links.downloads.append(badge);
  const down = el("span", { cls: "num" }, rate(0));
  const up = el("span", { cls: "num" }, rate(0));
  const lost = el("span", { cls: "pill bad hidden" }, "no connection");
  const view = el("main", { id: "view", cls: "view", tabindex: -1 });
  const rail = el(
    "div",
    { cls: "rail" },
    el("div", { cls: "brand" }, el("img", { src: "/page/icon.svg", alt: "" }), "Potluck"),
    nav,
    el(
      "div",
      { cls: "rail-foot" },
      lost,
      el("div", { cls: "rates", "aria-label": "Rates" }, icon("download"), down, icon("upload"), up),
      el("button", { cls: "plain", type: "button", onclick: switchTheme }, icon("theme"), "Light or dark"),
    ),
  );
  fill(app, el("div", { cls: "frame" }, rail, view));
  const stops = [
    on("tick", (sample) => {
      down.textContent = rate(sample.down);
      up.textContent = rate(sample.up);
      badge.textContent = sample.downloads > 99 ? "99+" : sample.downloads;
      badge.classList.toggle("hidden", sample.downloads === 0);
    }),
    on("state", (connected) => lost.classList.toggle("hidden", connected)),
    on("event", (event) => {
      if (["warning", "tracker_lost", "peer_banned"].includes(event.event)) toast(event.message ?? event.error, true);
    }),
  ];
  frame = { view, links, stop: () => stops.forEach((stop) => stop()) };
}

function show() {
  if (!frame) return;
  const { view: key, rest } = way();
  close();
  mark(frame.links, key);
  document.title = `${VIEWS[key].name} · Potluck`;
  frame.view.replaceChildren();
  close = VIEWS[key].view(frame.view, rest) ?? (() => {});
}

function switchTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const root = document.documentElement;
  root.dataset.theme = (root.dataset.theme ?? (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
}

function enter() {
  draw();
  follow();
  show();
}

function leave() {
  close();
  close = () => {};
  frame?.stop();
  frame = undefined;
  unfollow();
  fill(app, signinView(enter));
}

function start() {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
  whenSignedOut(() => frame && leave());
  window.addEventListener("hashchange", show);
  arrive(enter, leave);
}

start();
