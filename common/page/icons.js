// Drawn on a grid of 24, in one line width.
import { svg } from "./dom.js";

const PATHS = {
  search: "M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14zM20 20l-4-4",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  upload: "M12 16V5M7 9l5-5 5 5M5 20h14",
  share: "M4 7a2 2 0 0 1 2-2h4l2 2h6a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2z",
  folder: "M4 7a2 2 0 0 1 2-2h4l2 2h6a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H6a2 2 0 0 1-2-2z",
  peers: "M9 11a3.2 3.2 0 1 0 0-6.4A3.2 3.2 0 0 0 9 11zM3.5 19a5.5 5.5 0 0 1 11 0M16 11.2a2.6 2.6 0 1 0-.6-5.1M17 14.6a4.6 4.6 0 0 1 3.6 4.4",
  status: "M4 13h3l2.5-7 4 13 2.5-8 1.2 2H20",
  audio: "M9 18V6l10-2v12M9 18a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0zM19 16a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0z",
  video: "M4 6.5h11v11H4zM15 10.5l5-3v9l-5-3",
  image: "M4 5h16v14H4zM4 16l4.5-4.5 4 4 3-3L20 17M15.5 9.5h.01",
  document: "M6 3.5h8l4 4v13H6zM14 3.5v4h4M9 12.5h6M9 16h6",
  archive: "M4 8h16v11H4zM3.5 4.5h17V8h-17zM10 12h4",
  file: "M6 3.5h8l4 4v13H6zM14 3.5v4h4",
  play: "M8 5.5v13l10-6.5z",
  pause: "M8.5 5.5v13M15.5 5.5v13",
  retry: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  close: "M6 6l12 12M18 6L6 18",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7",
  link: "M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1",
  code: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h2v2h-2zM18 14h2v2h-2zM14 18h2v2h-2zM18 18h2v2h-2z",
  copy: "M9 9h10v11H9zM5 15V4h10",
  check: "M5 12.5l4.5 4.5L19 7.5",
  save: "M12 4v9M8 10l4 4 4-4M5 15v4h14v-4",
  open: "M14 5h5v5M19 5l-8 8M10 6H5v13h13v-5",
  chevron: "M9 6l6 6-6 6",
  back: "M15 6l-6 6 6 6",
  plus: "M12 5v14M5 12h14",
  theme: "M12 4v16M12 4a8 8 0 0 1 0 16 8 8 0 0 1 0-16",
  invite: "M9 11a3.2 3.2 0 1 0 0-6.4A3.2 3.2 0 0 0 9 11zM3.5 19a5.5 5.5 0 0 1 11 0M18 9v6M15 12h6",
  leave: "M10 5H5v14h5M14 8l4 4-4 4M18 12H9",
  pot: "M5 10h14v5a4.5 4.5 0 0 1-4.5 4.5h-5A4.5 4.5 0 0 1 5 15zM3 10h18M9.5 7c0-1.4 1.2-1.4 1.2-2.8M13.5 7c0-1.4 1.2-1.4 1.2-2.8",
};

/** A drawing that says nothing by itself: the text beside it, or the label of its button, does. */
export function icon(name) {
  return svg("svg", { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true" }, svg("path", { d: PATHS[name] ?? PATHS.file }));
}
