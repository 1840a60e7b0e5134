// Plays and shows files of others in a frame of their own, also while they are still coming.
import { el } from "./dom.js";
import { isPlayed, isShown, kind } from "./format.js";
import { icon } from "./icons.js";
import { contentUrl } from "./api.js";

/** Whether something of it can be seen or heard here. */
export const canPlay = (download) =>
  (isPlayed(download.name) && download.state !== "failed") || (isShown(download.name) && download.state === "done");

/** Opens the player. */
export function play(download) {
  const source = contentUrl(download.id);
  const makers = {
    image: () => el("img", { src: source, alt: download.name }),
    audio: () => el("audio", { src: source, controls: true, autoplay: true }),
    video: () => el("video", { src: source, controls: true, autoplay: true, playsinline: true }),
  };
  const media = (makers[kind(download.name)] ?? makers.video)();
  const failed = el("p", { cls: "note bad hidden" }, "This browser does not play that kind of file. Save it and open it with another program.");
  media.addEventListener("error", () => failed.classList.remove("hidden"));
  const close = el("button", { cls: "plain iconic", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("close"));
  const head = el("div", { cls: "head" }, el("strong", { cls: "cut grow" }, download.name), close);
  const dialog = el("dialog", { cls: "player", "aria-label": download.name }, head, media, failed);
  dialog.addEventListener("close", () => {
    media.removeAttribute("src"); // or it would go on loading
    media.load?.();
    dialog.remove();
  });
  document.body.append(dialog);
  dialog.showModal();
}
