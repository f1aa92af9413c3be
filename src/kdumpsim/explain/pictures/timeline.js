// SPDX-License-Identifier: GPL-2.0-or-later
// Makes the timeline of a page zoomable. Without this script the page shows the drawing around the crash.
"use strict";
(() => {
  const source = document.getElementById("timeline-data");
  const svg = document.querySelector("#timeline svg");
  if (!source || !svg) return;
  const data = JSON.parse(source.textContent);
  const { width, left, right, top, space, solid } = data.frame;
  const room = width - left - right;
  const make = (parent, tag, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const name in attributes) element.setAttribute(name, attributes[name]);
    if (text !== undefined) element.textContent = text;
    parent.appendChild(element);
    return element;
  };
  const height = svg.viewBox.baseVal.y + svg.viewBox.baseVal.height;
  const whole = data.end - data.begin || 1;
  let [begin, end] = data.window;
  const place = (time) => left + (room * (time - begin)) / (end - begin);
  const time = (x) => begin + ((end - begin) * (x - left)) / room;
  const seconds = (ns) => (ns / 1e9).toFixed(9).replace(/\.?0+$/, "") + " s";

  const step = () => {
    for (let unit = 1; ; unit *= 10)
      for (const factor of [1, 2, 5]) if (unit * factor * 8 >= end - begin) return unit * factor;
  };

  const words = (parent, x, y, text, kind, most, size) => {
    const letters = Math.floor(most / (size * 0.6));
    if (letters < 2) return;
    make(parent, "text", { x, y, class: kind }, text.length > letters ? text.slice(0, letters - 1) + "…" : text);
  };

  const tip = (element, bar) => {
    const until = bar[1] > bar[0] ? " to " + seconds(bar[1]) + " (" + (bar[1] - bar[0]) / 1000 + " µs)" : "";
    make(element, "title", {}, data.texts[bar[2]] + ": " + seconds(bar[0]) + until + " " + data.texts[bar[4]]);
  };

  const drawText = (view, lane, y) => {
    const rows = Array(Math.max(Math.floor(lane.height / 14), 1)).fill(0);
    for (const bar of lane.bars) {
      if (bar[0] < begin || bar[0] > end) continue;
      const x = place(bar[0]);
      const text = data.texts[bar[2]];
      const rest = width - right - x - 4;
      const fits = rest >= Math.min(text.length * 6.3, data.frame.room);
      const row = rows.findIndex((taken) => taken <= (fits ? x : x - text.length * 6.3 - 10));
      if (row < 0) continue;
      rows[row] = x + text.length * 6.3 + 10;
      tip(make(view, "rect", { x, y: y + 14 * row, width: 1.5, height: 12, class: "new" }), bar);
      if (fits) words(view, x + 4, y + 14 * row + 10, text, "s", rest, 10.5);
      else make(view, "text", { x: x - 4, y: y + 14 * row + 10, class: "s", "text-anchor": "end" }, text);
    }
  };

  const drawBars = (view, lane, y) => {
    let last = -1;
    let labelled = -1;
    for (const bar of lane.bars) {
      if (bar[1] < begin || bar[0] > end) continue;
      const x = Math.max(place(bar[0]), left);
      const stop = Math.min(place(bar[1]), width - right);
      if (stop - x < 1 && x - last < 0.7) continue;
      last = x;
      const kind = data.texts[bar[3]];
      tip(make(view, "rect", { x, y, width: Math.max(stop - x, 1), height: lane.height, class: kind }), bar);
      if (stop - x > 34 && lane.height > 12 && x >= labelled) {
        labelled = Math.min(x + 8 + data.texts[bar[2]].length * 6.3, stop);
        const on = kind === "irq" ? "onirq" : solid.includes(kind) ? "on" : "s";
        words(view, x + 4, y + lane.height - 3, data.texts[bar[2]], on, stop - x - 6, 10.5);
      }
    }
  };

  const view = svg.querySelector("g.view");
  const draw = () => {
    view.replaceChildren();
    const unit = step();
    for (let at = Math.ceil(begin / unit) * unit; at <= end; at += unit) {
      const x = place(at);
      make(view, "line", { x1: x, x2: x, y1: top - 6, y2: height - 10, class: "grid" });
      if (x < width - 40) make(view, "text", { x, y: top - 10, class: "s", "text-anchor": "middle" }, seconds(at));
    }
    let y = top;
    for (const lane of data.lanes) {
      y += lane.first ? 3 * space : space;
      const base = lane.text ? y + 10 : y + lane.height / 2 + 4;
      make(view, "text", { x: left - 8, y: base, class: lane.first ? "b s" : "s", "text-anchor": "end" }, lane.label);
      (lane.text ? drawText : drawBars)(view, lane, y);
      y += lane.height;
    }
    const ends = [-1, -1, -1, -1];
    for (const [at, name, kind] of data.marks) {
      if (at < begin || at > end) continue;
      const x = place(at);
      const taking = 8 * name.length + 8;
      const before = x + taking > width;
      const row = Math.max(ends.findIndex((taken) => taken < (before ? x - taking : x)), 0);
      ends[row] = before ? x : x + taking;
      make(view, "line", { x1: x, x2: x, y1: 34 + 14 * row, y2: height - 10, class: kind });
      const look = { class: kind === "crash" ? "hot" : "s", "text-anchor": before ? "end" : "start" };
      make(view, "text", { x: before ? x - 4 : x + 4, y: 44 + 14 * row, ...look }, name);
    }
    document.getElementById("timeline-where").textContent =
      seconds(Math.round(begin)) + " to " + seconds(Math.round(end));
  };

  const show = (from, to) => {
    const length = Math.min(Math.max(to - from, 1000), whole);
    begin = Math.min(Math.max(from, data.begin), data.end - length);
    end = begin + length;
    draw();
  };
  const zoom = (factor, around) => show(around - (around - begin) * factor, around + (end - around) * factor);
  const middle = () => (begin + end) / 2;
  const pan = (share) => show(begin + (end - begin) * share, end + (end - begin) * share);
  const around = (at) => show(at - (end - begin) / 2, at + (end - begin) / 2);

  const controls = document.getElementById("timeline-controls");
  const button = (label, action, title) => {
    const element = document.createElement("button");
    element.type = "button";
    element.textContent = label;
    element.title = title;
    element.addEventListener("click", action);
    controls.insertBefore(element, controls.lastElementChild);
  };
  button("+", () => zoom(0.5, middle()), "zoom in (key +)");
  button("−", () => zoom(2, middle()), "zoom out (key -)");
  button("←", () => pan(-0.5), "earlier (key ←)");
  button("→", () => pan(0.5), "later (key →)");
  button("whole run", () => show(data.begin, data.end), "everything");
  button("first view", () => show(...data.window), "where it was at first");
  for (const [at, name] of data.marks) button(name, () => show(at - 2e6, at + 2e6), "2 ms on either side");
  controls.hidden = false;

  svg.setAttribute("tabindex", "0");
  const keys = { "+": () => zoom(0.5, middle()), "=": () => zoom(0.5, middle()), "-": () => zoom(2, middle()),
    ArrowLeft: () => pan(-0.25), ArrowRight: () => pan(0.25) };
  svg.addEventListener("keydown", (event) => {
    if (keys[event.key]) {
      keys[event.key]();
      event.preventDefault();
    }
  });
  const at = (event) => {
    const box = svg.getBoundingClientRect();
    return time(((event.clientX - box.left) * width) / box.width);
  };
  svg.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return; // the page scrolls
    zoom(event.deltaY > 0 ? 1.25 : 0.8, at(event));
    event.preventDefault();
  }, { passive: false });
  svg.addEventListener("dblclick", (event) => zoom(0.4, at(event)));
  let held = null;
  svg.addEventListener("pointerdown", (event) => { held = at(event); });
  addEventListener("pointerup", () => { held = null; });
  svg.addEventListener("pointermove", (event) => {
    if (held !== null) show(begin + held - at(event), end + held - at(event));
  });

  const follow = () => {
    const found = /^#t=(\d+)$/.exec(location.hash);
    if (found) {
      around(Number(found[1]));
      document.getElementById("timeline").scrollIntoView();
    }
  };
  for (const link of document.querySelectorAll("a[data-time]")) link.href = "#t=" + link.dataset.time;
  addEventListener("hashchange", follow);
  draw();
  follow();
})();
