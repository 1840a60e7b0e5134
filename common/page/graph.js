// The rates of the last minutes as two lines.
import { el, fill, svg } from "./dom.js";
import { rate } from "./format.js";

const SECONDS = 300;
const HEIGHT = 100;

export class Graph {
  constructor() {
    this.samples = [];
    this.picture = svg("svg", { class: "graph", viewBox: `0 0 ${SECONDS} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.legend = el("figcaption", { cls: "legend" });
    this.element = el("figure", {}, this.picture, this.legend);
  }

  /** Begins with what is known. */
  set(samples) {
    this.samples = samples.slice(-SECONDS);
    this.draw();
  }

  add(sample) {
    this.samples = [...this.samples, sample].slice(-SECONDS);
    this.draw();
  }

  draw() {
    const top = Math.max(64 << 10, ...this.samples.map((sample) => Math.max(sample.down, sample.up)));
    const start = SECONDS - this.samples.length;
    const points = (part) => this.samples.map((sample, at) => `${start + at},${(HEIGHT - 2 - (sample[part] / top) * (HEIGHT - 8)).toFixed(1)}`).join(" L");
    const last = this.samples.at(-1) ?? { down: 0, up: 0 };
    this.picture.setAttribute("aria-label", `Receives ${rate(last.down)}, sends ${rate(last.up)}`);
    this.picture.replaceChildren(svg("path", { class: "base", d: `M0,${HEIGHT - 1} H${SECONDS}` }));
    if (this.samples.length > 1) {
      this.picture.append(
        svg("path", { class: "down", d: `M${start},${HEIGHT} L${points("down")} L${SECONDS - 1},${HEIGHT} Z` }),
        svg("path", { class: "up", d: `M${points("up")}` }),
      );
    }
    fill(this.legend, el("span", {}, el("i", { cls: "all" }), `receives ${rate(last.down)}`), el("span", {}, el("i", { cls: "up" }), `sends ${rate(last.up)}`), el("span", {}, `five minutes, up to ${rate(top)}`));
  }
}
