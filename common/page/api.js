// Speaks to the program: requests, and the stream of what happens.

/** A request that was refused or failed; the message is a sentence with the next step. */
export class NodeError extends Error {
  constructor(status, body) {
    super(body?.message ?? "Nobody answers. Is the program still running?");
    this.status = status;
    this.failure = body?.failure ?? "Unreachable";
  }
}

let onSignedOut = () => {};

/** Who is told when the browser is not signed in any more. */
export function whenSignedOut(work) {
  onSignedOut = work;
}

/** Asks something; gives the answer's object. */
export async function ask(method, path, { query, body, signal } = {}) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const url = `/api/v1/${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`;
  const options = { method, signal, credentials: "same-origin", headers: {} };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new NodeError(0);
  }
  const answer = response.headers.get("content-type")?.startsWith("application/json") ? await response.json() : undefined;
  if (response.ok) return answer;
  if (response.status === 401 && path !== "session") onSignedOut();
  throw new NodeError(response.status, answer);
}

export const get = (path, query, signal) => ask("GET", path, { query, signal });
export const post = (path, body = {}) => ask("POST", path, { body });
export const put = (path, body) => ask("PUT", path, { body });
export const remove = (path) => ask("DELETE", path);

/** The address of a download's bytes. */
export const contentUrl = (id, save = false) => `/api/v1/downloads/${id}/content${save ? "?save=1" : ""}`;

const listeners = { tick: new Set(), event: new Set(), state: new Set() };
let source;

/** Calls `work` for each `tick`, `event`, or change of the connection's `state`; gives back how to stop. */
export function on(kind, work) {
  listeners[kind].add(work);
  return () => listeners[kind].delete(work);
}

/** Follows what happens; the browser takes the stream up again by itself. */
export function follow() {
  source?.close();
  source = new EventSource("/api/v1/events");
  const tell = (kind, data) => listeners[kind].forEach((work) => work(data));
  for (const kind of ["tick", "event"]) source.addEventListener(kind, (message) => tell(kind, JSON.parse(message.data)));
  source.addEventListener("open", () => tell("state", true));
  source.addEventListener("error", () => tell("state", false));
}

/** Ends it. */
export function unfollow() {
  source?.close();
  source = undefined;
}

/** Does `work` now and then every `milliseconds` while somebody looks at the page; gives back how to stop. */
export function poll(work, milliseconds) {
  let stopped = false;
  let timer;
  const again = async () => {
    clearTimeout(timer);
    if (stopped) return;
    if (!document.hidden) await work();
    if (!stopped) timer = setTimeout(again, milliseconds);
  };
  const wake = () => document.hidden || again();
  document.addEventListener("visibilitychange", wake);
  again();
  return () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", wake);
  };
}
