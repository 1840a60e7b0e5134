// Elements without markup: text is always text, whoever wrote it.

/** Makes an element. `props`: attributes; `on…` listeners; `class`; `data` for data-attributes. Falsy children are left out. */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name === "cls" ? "class" : name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Makes an SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Puts children in the place of those that are there. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Runs `work` a while after the last call. */
export function debounce(work, milliseconds) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...args), milliseconds);
  };
}

/** A progress bar; `part` of 0 to 1. */
export function bar(part, look = "") {
  const inner = el("i");
  inner.style.width = `${Math.max(0, Math.min(1, part)) * 100}%`;
  return el("div", { cls: `bar ${look}`, role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.floor(part * 100) }, inner);
}

/** A name in its circle. */
export function avatar(name, small = false) {
  const hue = [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) >>> 0, 7) % 5;
  return el("span", { cls: small ? "avatar s" : "avatar", data: { hue }, "aria-hidden": true }, [...name][0]?.toUpperCase() ?? "?");
}
