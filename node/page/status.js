// The node itself: who it is, where it is registered, how fast it goes, what happened, and how to bring others along.
import { attempt, codeButton, copyButton, tool } from "./dialog.js";
import { el, fill } from "./dom.js";
import { ago, count, percent, rate, size, some } from "./format.js";
import { Graph } from "./graph.js";
import { get, on, poll, post, remove } from "./api.js";

/** Events that are shown. */
const SHOWN = 50;
const WORDS = {
  listening: (event) => ["", `listens at ${event.address}`],
  page: (event) => ["", `page at ${event.address}`],
  registered: (event) => ["good", `registered at ${event.tracker} in ${event.namespace}`],
  tracker_lost: (event) => ["bad", `not registered at ${event.tracker}: ${event.error}`],
  listed: (event) => ["", `listed ${some(event.files, "file")}, ${size(event.bytes)}: others can find them`],
  indexed: (event) => ["good", `hashed ${some(event.files, "file")}, ${size(event.bytes)}: others can fetch them`],
  peer_banned: (event) => ["bad", `nothing more is taken from ${event.peer_id}: ${event.error}`],
  warning: (event) => ["warn", event.message],
};

export function statusView(view) {
  const graph = new Graph();
  const part = () => el("div", { cls: "stack" });
  const parts = { who: part(), trackers: part(), invite: part(), settings: part(), values: part() };
  const log = el("ul", { cls: "lines" });
  const events = [];
  let drawn = "";

  async function refresh() {
    const status = await attempt(() => get("status"));
    if (!status) return;
    const { rate_up: up, rate_down: down, ...rest } = status;
    fill(parts.settings, traffic(status));
    const text = JSON.stringify({ ...rest, bytes_up: 0, bytes_down: 0 });
    if (text === drawn) return;
    drawn = text;
    fill(parts.who, who(status));
    fill(parts.trackers, trackers(status, refresh));
    fill(parts.invite, invite(status));
  }

  function tell(event) {
    events.unshift(event);
    events.length = Math.min(events.length, SHOWN);
    fill(log, events.map(({ at, ...event }) => {
      const [look, words] = WORDS[event.event]?.(event) ?? ["", event.event];
      return el("li", {}, el("span", { cls: `pill ${look}` }, ago(at)), el("span", { cls: "grow" }, words));
    }));
  }

  const card = (title, ...children) => el("section", { cls: "card", "aria-label": title }, el("h2", {}, title), children);
  const leave = async () => {
    await attempt(() => remove("session"));
    location.reload();
  };
  fill(
    view,
    el("header", {}, el("div", { cls: "title" }, el("h1", {}, "Node"), el("div", { cls: "tools" }, tool("leave", "Sign out", leave)))),
    el(
      "div", { cls: "body" },
      el(
        "div", { cls: "cards" },
        el("section", { cls: "card wide", "aria-label": "Rates" }, el("h2", {}, "Rates"), graph.element),
        card("Invite somebody", parts.invite), card("Settings", parts.values), card("Trackers", parts.trackers), card("This node", parts.who), card("Shared and moved", parts.settings),
        el("section", { cls: "card wide", "aria-label": "What happened" }, el("h2", {}, "What happened"), log),
      ),
    ),
  );
  attempt(() => get("settings")).then((lines) => lines && fill(parts.values, settings(lines)));
  attempt(() => get("rates")).then((samples) => samples && graph.set(samples));
  const stops = [on("tick", (sample) => graph.add(sample)), poll(refresh, 2000), past(tell)];
  return () => stops.forEach((stop) => stop());
}

/** Tells the events that are kept, then those that come. */
function past(tell) {
  const source = new EventSource("/api/v1/events?since=0");
  source.addEventListener("event", (message) => tell(JSON.parse(message.data)));
  return () => source.close();
}

const fact = (name, ...value) => [el("dt", {}, name), el("dd", {}, value)];

function who(status) {
  return el(
    "dl", { cls: "facts" },
    fact("Nickname", status.nickname), fact("Group", status.namespace),
    fact("PeerId", el("code", { cls: "grow" }, status.peer_id), copyButton(status.peer_id)),
    status.addresses.map((address, at) => fact(at === 0 ? "Listens at" : "", el("code", { cls: "grow" }, address), copyButton(address))),
    fact("Downloads go to", el("code", {}, status.download_dir)),
    fact("Connected to", some(status.connected_peers, "peer")),
  );
}

function trackers(status, refresh) {
  if (status.trackers.length === 0) {
    return el("p", { cls: "note warn" }, "No tracker is known. One on this machine or the LAN is found by itself; name another with ", el("code", {}, "potluck node --tracker ADDRESS"), ".");
  }
  const any = status.trackers.some((line) => line.registered);
  const change = () => attempt(() => post(any ? "deregister" : "register"), any ? "Left; others do not see you now" : "Registered").then(refresh);
  const line = (one) =>
    el("li", {}, el("span", { cls: `pill ${one.registered ? "good" : "warn"}` }, one.registered ? "registered" : one.state), el("code", { cls: "cut grow", title: one.tracker }, one.tracker), copyButton(one.tracker, "Copy the tracker’s address"));
  return [
    el("ul", { cls: "lines" }, status.trackers.map(line)),
    status.trackers.filter((one) => one.error).map((one) => el("p", { cls: "note warn" }, one.error)),
    el("div", {}, el("button", { type: "button", onclick: change }, any ? "Leave for now" : "Register again")),
  ];
}

function invite(status) {
  const tracker = status.trackers.find((line) => line.registered && line.tracker.includes("/p2p/"));
  const reach = tracker ? `--tracker ${tracker.tracker}` : status.addresses[0] && `--dial ${status.addresses[0]}`;
  if (!reach) return el("p", { cls: "quiet" }, "Nobody can reach this node yet.");
  const group = status.namespace === "public" ? "" : ` --namespace '${status.namespace}'`;
  const command = `potluck node --share FOLDER ${reach}${group}`;
  const isLocal = /\/ip4\/127\.|\/ip6\/::1\//.test(reach);
  return [
    el("p", { cls: "quiet small" }, "Send this line to a friend. Whoever types it shares a folder of theirs and finds everybody’s."),
    el("div", { cls: "copyline", id: "invite" }, el("code", {}, command), copyButton(command, "Copy the invitation"), codeButton(command)),
    isLocal && el("p", { cls: "note warn" }, "This address works on this machine only. Start the tracker where your friends can reach it, and name it with --tracker."),
  ];
}

/** What the node runs with, and where each value comes from. */
function settings(lines) {
  const from = (line) => (line.origin === "default" ? "default" : `from ${line.place}`);
  return [
    el("dl", { cls: "facts", id: "settings" }, lines.map((line) =>
      fact(line.name, el("span", { cls: "grow" }, line.value.join(", ") || "–"), el("span", { cls: "quiet small" }, line.next ? `${from(line)}; from the next start on: ${line.next.join(", ")}` : from(line))))),
    el("p", { cls: "quiet small" }, "Change one with ", el("code", {}, "potluck config set NAME VALUE"), "."),
  ];
}

function traffic(status) {
  return el(
    "dl", { cls: "facts" },
    fact("Shares", `${some(status.shares, "folder")}, ${some(status.files, "file")}, ${size(status.bytes)}`),
    fact("Hashed", percent(status.hashed_bytes, status.bytes)),
    fact("Open downloads", count(status.downloads)),
    fact("Received", `${size(status.bytes_down)}, now ${rate(status.rate_down)}`),
    fact("Sent", `${size(status.bytes_up)}, now ${rate(status.rate_up)}`),
  );
}
