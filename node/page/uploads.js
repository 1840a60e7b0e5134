// Uploads: what goes to whom, and how fast it may.
import { attempt, empty } from "./dialog.js";
import { avatar, el, fill } from "./dom.js";
import { count, kind, rate, size, some, tail } from "./format.js";
import { icon } from "./icons.js";
import { List } from "./list.js";
import { get, poll, put } from "./api.js";

const LIMITS = [[null, "No limit"], [512 << 10, "512 KiB/s"], [1 << 20, "1 MiB/s"], [5 << 20, "5 MiB/s"], [20 << 20, "20 MiB/s"], [100 << 20, "100 MiB/s"]];

export function uploadsView(view) {
  const list = new List({ label: "Uploads", key: (line) => `${line.peer_id} ${line.content_id}`, row, foldable: false });
  const nothing = el("div", { cls: "body" });
  const note = el("p", { cls: "quiet small", role: "status" });
  const limit = el("select", { "aria-label": "Most that is sent", onchange: () => attempt(() => put("limits", { up: limit.value ? Number(limit.value) : null }), "The limit holds until the node ends") });

  function drawLimit(up) {
    if (document.activeElement === limit) return;
    const known = LIMITS.some(([value]) => value === up) ? LIMITS : [...LIMITS, [up, rate(up)]];
    fill(limit, known.map(([value, label]) => el("option", { value: value ?? "" }, value === null ? label : `at most ${label}`)));
    limit.value = up ?? "";
  }

  async function refresh() {
    const [lines, limits] = await Promise.all([attempt(() => get("uploads")), attempt(() => get("limits"))]);
    if (!lines || !limits) return;
    drawLimit(limits.up);
    const speed = lines.reduce((sum, line) => sum + line.rate, 0);
    note.textContent = lines.length ? `${rate(speed)} to ${some(new Set(lines.map((line) => line.peer_id)).size, "peer")}${limits.queued ? ` · ${count(limits.queued)} requests wait` : ""}` : "";
    nothing.classList.toggle("hidden", lines.length > 0);
    list.element.classList.toggle("hidden", lines.length === 0);
    if (lines.length === 0) fill(nothing, empty("upload", "Nobody takes anything now", "What others fetch from your shares shows here for ten minutes. All who wait take turns, by bytes, so that nobody is starved by a large file.", el("a", { cls: "button", href: "#shares" }, icon("share"), "See what you share")));
    list.set(lines);
  }

  fill(
    view,
    el("header", {}, el("div", { cls: "title" }, el("h1", {}, "Uploads"), note, el("div", { cls: "tools" }, limit))),
    el("div", { cls: "body flush" }, list.element, nothing),
  );
  const stop = poll(refresh, 1000);
  return () => { stop(); list.close(); };
}

function row(line) {
  const name = line.path ? line.path.split("/").at(-1) : line.content_id ? "A file that is shared no longer" : "Many small files";
  return el(
    "div", { cls: "main" },
    el("span", { cls: "kind" }, icon(line.path ? kind(name) : "archive")),
    el("div", { cls: "names" }, el("span", { cls: "name" }, name), el("span", { cls: "where" }, line.path ?? "")),
    el("div", { cls: "side wide-only" }, el("span", { cls: `pill ${line.active ? "accent" : ""}` }, line.active ? "Sending" : "Sent")),
    el("span", { cls: "size num" }, size(line.bytes)),
    el("span", { cls: "size num" }, line.rate ? rate(line.rate) : ""),
    el("div", { cls: "side", title: line.peer_id }, avatar(line.nickname || line.peer_id, true), el("span", { cls: "cut small" }, line.nickname || tail(line.peer_id))),
  );
}
