// A list of any length: only the rows in sight are in the document. Rows are as high as each other, but for those that are
// unfolded. Arrow keys move from row to row, Enter unfolds.
import { el, fill } from "./dom.js";

/** Rows above and below those in sight, so that fast scrolling shows no gaps. */
const SPARE = 8;

export class List {
  /**
   * `row(item, index, isOpen)` gives the children of a row; `key(item)` what it is known by; `more()` is called when the end
   * comes into sight; `look(item)` gives further classes; `label` is what a screen reader calls the list.
   */
  constructor({ row, key, more, look, label, foldable = true }) {
    Object.assign(this, { row, key, more, look, foldable });
    this.items = [];
    this.total = 0;
    this.open = new Map(); // key → height of what is unfolded
    this.drawn = new Map(); // key → { element, stamp }
    this.current = 0;
    this.space = el("div", { cls: "space", role: "presentation" });
    this.element = el("div", { cls: "list", role: "list", "aria-label": label, tabindex: -1 }, this.space);
    this.element.addEventListener("scroll", () => this.draw(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.element);
    this.heights = new ResizeObserver((entries) => this.measure(entries));
  }

  /** Shows other items; `total` may be more than are loaded. */
  set(items, total = items.length) {
    this.items = items;
    this.total = Math.max(total, items.length);
    this.draw(true);
  }

  /** Begins at the top again, with nothing unfolded. */
  reset() {
    this.open.clear();
    this.current = 0;
    this.element.scrollTop = 0;
  }

  /** Unfolds a row, or folds it. */
  toggle(key) {
    if (!this.open.delete(key)) this.open.set(key, 0);
    this.draw(true);
  }

  get rowHeight() {
    return parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 60;
  }

  /** Where each unfolded row adds height: index → height. */
  extras() {
    if (this.open.size === 0) return [];
    const found = [];
    this.items.forEach((item, index) => {
      const height = this.open.get(this.key(item));
      if (height !== undefined) found.push([index, height]);
    });
    return found;
  }

  draw(refresh = false) {
    const rowHeight = this.rowHeight;
    const extras = this.extras();
    const top = (index) => index * rowHeight + extras.reduce((sum, [at, height]) => sum + (at < index ? height : 0), 0);
    const height = top(this.items.length);
    if (this.height !== height) {
      this.height = height;
      this.space.style.height = `${height}px`;
    }
    const { scrollTop, clientHeight } = this.element;
    const folded = extras.reduce((sum, [, extra]) => sum + extra, 0);
    const first = Math.max(0, Math.floor((scrollTop - folded) / rowHeight) - SPARE);
    const last = Math.min(this.items.length, Math.ceil((scrollTop + clientHeight) / rowHeight) + SPARE);
    const kept = new Set();
    for (let index = first; index < last; index += 1) {
      const item = this.items[index];
      const key = this.key(item);
      kept.add(key);
      this.place(item, key, index, top(index), refresh);
    }
    for (const [key, drawn] of this.drawn) {
      if (!kept.has(key)) {
        this.heights.unobserve(drawn);
        drawn.remove();
        this.drawn.delete(key);
      }
    }
    if (this.more && this.items.length < this.total && last >= this.items.length - SPARE) this.more();
  }

  place(item, key, index, top, refresh) {
    let element = this.drawn.get(key);
    const isOpen = this.open.has(key);
    if (!element) {
      element = el("div", { role: "listitem", tabindex: index === this.current ? 0 : -1 });
      element.addEventListener("focusin", () => this.focusOn(Number(element.dataset.index)));
      this.drawn.set(key, element);
      this.space.append(element);
      this.heights.observe(element);
    }
    if (element.item !== item || refresh || element.isOpen !== isOpen) {
      const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : undefined;
      Object.assign(element, { item, isOpen });
      element.className = `row ${this.look?.(item) ?? ""}`;
      fill(element, this.row(item, index, isOpen));
      if (focused) element.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    }
    element.dataset.index = index;
    element.setAttribute("aria-posinset", index + 1);
    element.setAttribute("aria-setsize", this.total);
    element.style.transform = `translateY(${top}px)`;
  }

  /** Unfolded rows are as high as what is in them. */
  measure(entries) {
    let changed = false;
    for (const { target, contentRect } of entries) {
      if (!target.isOpen) continue;
      const extra = Math.max(0, Math.round(contentRect.height - this.rowHeight));
      const key = this.key(target.item);
      if (this.open.has(key) && this.open.get(key) !== extra) {
        this.open.set(key, extra);
        changed = true;
      }
    }
    if (changed) requestAnimationFrame(() => this.draw());
  }

  focusOn(index) {
    if (index === this.current) return;
    const before = this.drawn.get(this.items[this.current] && this.key(this.items[this.current]));
    before?.setAttribute("tabindex", -1);
    this.current = index;
    this.drawn.get(this.key(this.items[index]))?.setAttribute("tabindex", 0);
  }

  onKey(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (event.target.closest("input")) return;
    if (event.key in steps) {
      event.preventDefault();
      this.goTo(Math.max(0, Math.min(this.items.length - 1, this.current + steps[event.key])));
    } else if (event.key === "Enter" && this.foldable && event.target.getAttribute("role") === "listitem") {
      this.toggle(this.key(event.target.item));
    }
  }

  goTo(index) {
    if (this.items.length === 0) return;
    const height = this.rowHeight;
    const { scrollTop, clientHeight } = this.element;
    if (index * height < scrollTop) this.element.scrollTop = index * height;
    else if ((index + 1) * height > scrollTop + clientHeight) this.element.scrollTop = (index + 1) * height - clientHeight;
    this.draw();
    this.focusOn(index);
    this.drawn.get(this.key(this.items[index]))?.focus({ preventScroll: true });
  }

  /** Lets go of what watches the list. */
  close() {
    this.watcher.disconnect();
    this.heights.disconnect();
  }
}
