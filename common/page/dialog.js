// What is said in passing, and what is asked.
import { el } from "./dom.js";
import { icon } from "./icons.js";

/** Says something for some seconds. */
export function toast(text, bad = false) {
  const note = el("div", { cls: bad ? "toast bad" : "toast" }, text);
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), bad ? 9000 : 4000);
}

/** Does something that may fail, and says so. Gives what came of it, or undefined. */
export async function attempt(work, said) {
  try {
    const result = await work();
    if (said) toast(typeof said === "function" ? said(result) : said);
    return result;
  } catch (error) {
    if (error.name !== "AbortError") toast(error.message, true);
    return undefined;
  }
}

/** A button that copies a text. */
export function copyButton(text, label = "Copy", look = "plain iconic") {
  const button = el("button", { type: "button", cls: look, title: label, "aria-label": label, data: { copy: text } }, icon("copy"));
  button.addEventListener("click", async (event) => {
    event.stopPropagation();
    await copy(text);
    button.replaceChildren(icon("check"));
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  });
  return button;
}

/** Copies a text, and says so. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied");
  } catch {
    ask("Copy this", [el("div", { cls: "copyline" }, el("code", {}, text))], "Done"); // where a browser forbids the clipboard
  }
}

/** A button that shows a text as a QR code, for the camera of a phone. */
export function codeButton(text, label = "Show as a QR code") {
  const show = () => ask("Scan with a phone", [el("img", { cls: "code", alt: "QR code", src: `/api/v1/qr?${new URLSearchParams({ text })}` })], "Done");
  return el("button", { type: "button", cls: "plain iconic", title: label, "aria-label": label, onclick: show }, icon("code"));
}

/** A button of a view's head: its words give way on a phone. */
export function tool(drawing, label, work, more = {}) {
  return el("button", { type: "button", title: label, "aria-label": label, onclick: work, ...more }, icon(drawing), el("span", { cls: "wide-only" }, label));
}

/** Shows a dialog with a form; resolves to its values, or to undefined when it is closed. */
export function ask(title, children, yes, look = "primary") {
  const form = el("form", { method: "dialog" }, el("h2", {}, title), children);
  form.append(el("div", { cls: "ends" }, el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), el("button", { cls: look, value: "yes" }, yes)));
  const dialog = el("dialog", { "aria-label": title }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? Object.fromEntries(new FormData(form)) : undefined);
    });
  });
}

/** What a view shows while it has nothing: why, and what to do. */
export function empty(drawing, title, text, ...more) {
  return el("div", { cls: "empty" }, el("div", { cls: "art" }, icon(drawing)), el("h2", {}, title), el("p", {}, text), more);
}
