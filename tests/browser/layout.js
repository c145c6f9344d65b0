// Looks at the open page at the window's present width. Returns a sentence for each fault: what is drawn over
// something else, is cut off without a scroll bar, sticks out, or cannot be scrolled to, clicked or focused.
() => {
  "use strict";
  const ROUNDING = 1.5; // px; boxes have fractions
  const LEAST = 3; // px that two boxes must share to be one over the other
  const MOST = 8; // faults told of one kind
  const CONTROLS = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']";
  const NO_TEXT = "script, style, noscript, template, option, title, desc";
  const found = new Map();
  const root = document.scrollingElement;
  const tell = (kind, what) => {
    const list = found.get(kind) || found.set(kind, new Set()).get(kind);
    if (list.size < MOST) list.add(`${kind}: ${what}`);
  };
  const name = (element) => {
    if (!element) return "nothing";
    const words = (element.textContent || element.value || element.placeholder || "").replace(/\s+/g, " ").trim();
    const kinds = [...element.classList].map((one) => `.${one}`).join("");
    return `<${element.localName}${element.id ? `#${element.id}` : ""}${kinds}> "${words.slice(0, 40)}"`;
  };
  const memo = (make) => {
    const known = new Map();
    return (key) => {
      if (!known.has(key)) known.set(key, make(key));
      return known.get(key);
    };
  };
  const styleOf = memo((element) => getComputedStyle(element));
  // For screen readers alone, or shown only while it has the focus.
  const isAside = memo((element) => {
    if (!element) return false;
    const style = styleOf(element);
    if (style.clipPath !== "none" && element.clientWidth <= 1) return true;
    return element.matches(".skip") || isAside(element.parentElement);
  });
  const isShown = memo((element) => element.checkVisibility({ visibilityProperty: true }) && !isAside(element));
  const over = (style, way) => style.getPropertyValue(`overflow-${way}`);

  // What clips an element: the ancestors that hide, or scroll, what does not fit into them; a text also its own element.
  const clip = (element) => {
    const style = styleOf(element);
    const ways = ["x", "y"].map((way) => over(style, way));
    return ways.some((way) => way !== "visible") && (style.display !== "inline" || element instanceof SVGElement)
      ? [{ element, ways }]
      : [];
  };
  const clipsOf = memo((element) => {
    const style = styleOf(element);
    if (style.position === "fixed" || element === document.body || !element.parentElement) return [];
    const parent = style.position === "absolute" ? element.offsetParent || document.body : element.parentElement;
    if (parent === document.body || parent === document.documentElement) return [];
    return [...clip(parent), ...clipsOf(parent)];
  });
  const clipsInside = (element) => (element === document.body ? [] : [...clip(element), ...clipsOf(element)]);
  // The nearest ancestor that stays where it is while the page scrolls.
  const layerOf = memo((element) => {
    if (!element || element === document.documentElement) return null;
    return /fixed|sticky/.test(styleOf(element).position) ? element : layerOf(element.parentElement);
  });
  const isFixed = (layer) => layer && styleOf(layer).position === "fixed";
  const isShortened = memo((element) => {
    const style = styleOf(element);
    return style.textOverflow === "ellipsis" || style.webkitLineClamp !== "none";
  });
  const inner = (element) => {
    const box = element.getBoundingClientRect();
    if (element instanceof SVGElement) return box;
    const left = box.left + element.clientLeft;
    const top = box.top + element.clientTop;
    return { left, top, right: left + element.clientWidth, bottom: top + element.clientHeight };
  };

  // The part of a box that can be seen without scrolling anything but the page; tells what is cut off for good.
  const seen = (box, element, what, clips) => {
    let { left, top, right, bottom } = box;
    for (const clip of clips) {
      const room = inner(clip.element);
      const [x, y] = clip.ways;
      const hides = (way) => way === "hidden" || way === "clip";
      const sideways = Math.max(room.left - left, right - room.right);
      const upright = Math.max(room.top - top, bottom - room.bottom);
      if ((hides(x) && sideways > ROUNDING) || (hides(y) && upright > ROUNDING)) {
        if (!isShortened(clip.element)) tell("cut off", `${what} by ${name(clip.element)}`);
        else if (!element.closest("[title]")) tell("shortened, with no title that has all of it", what);
      }
      const backwards = styleOf(clip.element).direction === "rtl";
      if (/auto|scroll/.test(x)) {
        const begin = room.left - clip.element.scrollLeft;
        if (!backwards && left < begin - ROUNDING) tell("cannot be scrolled to", `${what} in ${name(clip.element)}`);
      }
      left = Math.max(left, room.left);
      top = Math.max(top, room.top);
      right = Math.min(right, room.right);
      bottom = Math.min(bottom, room.bottom);
      if (right - left < 1 || bottom - top < 1) return null;
    }
    if (left + window.scrollX < -ROUNDING || (top + window.scrollY < -ROUNDING && !isFixed(layerOf(element))))
      tell("off the page", what);
    if (right + window.scrollX > root.clientWidth + ROUNDING) tell("sticks out", what);
    return { left, top, right, bottom };
  };

  window.scrollTo({ left: 0, top: 0, behavior: "instant" });
  if (root.scrollWidth > root.clientWidth) tell("the page scrolls sideways", `${root.scrollWidth} px wide`);

  // --- all that is drawn: texts by their lines, controls and pictures ---

  const drawn = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  while (walk.nextNode()) {
    const node = walk.currentNode;
    const text = node.textContent.trim();
    const element = node.parentElement;
    if (!text || element.closest(NO_TEXT) || !isShown(element)) continue;
    range.selectNodeContents(node);
    const lines = [...range.getClientRects()].filter((box) => box.width > 0.5 && box.height > 0.5);
    const what = `"${text.replace(/\s+/g, " ").slice(0, 40)}"`;
    for (const line of lines) {
      const box = seen(line, element, what, clipsInside(element));
      if (box) drawn.push({ box, element, node, what, layer: layerOf(element) });
    }
    const size = parseFloat(styleOf(element).fontSize);
    const widest = Math.max(0, ...lines.map((line) => line.width));
    if (lines.length > 2 && text.length > 5 && widest < 3.2 * size) tell("squeezed", what);
    if (lines.length > 1) {
      for (const word of node.textContent.matchAll(/(?<![^\s(])(\p{L}{3,16}|\d\d:\d\d(:\d\d)?)(?![^\s),.:;])/gu)) {
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        const tops = [...range.getClientRects()].map((box) => Math.round(box.top));
        if (Math.max(...tops) - Math.min(...tops) > size / 2) tell("broken word", `${word[0]} in ${what}`);
      }
    }
  }
  for (const table of document.querySelectorAll(".scroll > table.stack")) {
    const room = table.parentElement;
    if (styleOf(table).display === "block" && room.scrollWidth > room.clientWidth + ROUNDING)
      tell("cards scroll sideways", `${room.scrollWidth} px of ${room.clientWidth}`);
  }
  const controls = [...document.querySelectorAll(CONTROLS)].filter((control) => isShown(control) && !control.disabled);
  for (const element of document.querySelectorAll("input, select, textarea, button, .button, img, svg:not(:has(text))")) {
    if (!isShown(element) || element.type === "hidden") continue;
    const box = seen(element.getBoundingClientRect(), element, name(element), clipsOf(element));
    if (box) drawn.push({ box, element, what: name(element), layer: layerOf(element), isBox: true });
  }
  drawn.sort((one, other) => one.box.top - other.box.top);
  const holds = (one, other) => one.isBox && one.element.contains(other.element);
  drawn.forEach((one, place) => {
    for (let next = place + 1; next < drawn.length && drawn[next].box.top < one.box.bottom - LEAST; next += 1) {
      const other = drawn[next];
      if (one.layer !== other.layer && !(isFixed(one.layer) && isFixed(other.layer))) continue;
      const wide = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
      const high = Math.min(one.box.bottom, other.box.bottom) - other.box.top;
      const least = Math.min(one.box.bottom - one.box.top, other.box.bottom - other.box.top);
      if (wide <= LEAST || high <= LEAST || high < least * 0.3) continue;
      if (holds(one, other) || holds(other, one) || (one.node && one.node === other.node)) continue;
      tell("overlap", `${one.what} and ${other.what}`);
    }
  });

  // --- fields and their labels ---

  for (const field of document.querySelectorAll("input[type=radio], input[type=checkbox]")) {
    const label = field.labels?.[0];
    if (!label || !isShown(field) || !isShown(label)) continue;
    range.selectNodeContents(label);
    const line = [...range.getClientRects()].find((box) => box.width > 1);
    const box = field.getBoundingClientRect();
    if (line && Math.min(line.bottom, box.bottom) - Math.max(line.top, box.top) < box.height / 3)
      tell("not on the line of its label", name(label));
  }
  const pen = document.createElement("canvas").getContext("2d");
  for (const field of document.querySelectorAll("input[placeholder]")) {
    if (!isShown(field) || field.value) continue;
    const style = styleOf(field);
    pen.font = style.font;
    const room = field.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    if (pen.measureText(field.placeholder).width > room + ROUNDING) tell("cut off", `the hint in ${name(field)}`);
  }

  // --- what scrolls, by keyboard too ---

  const scrolls = new Set(drawn.flatMap((one) => clipsInside(one.element)).map((clip) => clip.element));
  for (const element of scrolls) {
    const style = styleOf(element);
    const does = (way, all, room) => /auto|scroll/.test(over(style, way)) && all > room + 1;
    const moves = does("x", element.scrollWidth, element.clientWidth) || does("y", element.scrollHeight, element.clientHeight);
    if (moves && element.tabIndex < 0 && !element.querySelector(CONTROLS)) tell("scrolls, but not by keyboard", name(element));
  }

  // --- each control can be scrolled to and clicked ---

  const hit = (control) => {
    for (const box of control.getClientRects()) {
      let { left, top, right, bottom } = box;
      for (const clip of clipsOf(control)) {
        const room = inner(clip.element);
        left = Math.max(left, room.left);
        top = Math.max(top, room.top);
        right = Math.min(right, room.right);
        bottom = Math.min(bottom, room.bottom);
      }
      left = Math.max(left, 0);
      top = Math.max(top, 0);
      right = Math.min(right, root.clientWidth);
      bottom = Math.min(bottom, window.innerHeight);
      if (right - left < 2 || bottom - top < 2) continue;
      const there = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
      if (there && (control.contains(there) || there.closest("label")?.control === control)) return true;
    }
    return false;
  };
  let left = controls.filter((control) => control.getClientRects().length);
  const fixed = [...new Set(drawn.map((one) => one.layer).filter(isFixed))];
  let covered = fixed.length ? drawn.filter((one) => !one.layer) : [];
  const step = Math.max(100, window.innerHeight * 0.7);
  for (let top = 0; left.length || covered.length; top += step) {
    window.scrollTo({ top, behavior: "instant" });
    left = left.filter((control) => !hit(control));
    const lids = fixed.map((element) => element.getBoundingClientRect());
    covered = covered.filter((one) => {
      const high = one.box.top - window.scrollY;
      if (high < 0 || one.box.bottom - window.scrollY > window.innerHeight) return true;
      const under = (lid) =>
        Math.min(lid.right, one.box.right) - Math.max(lid.left, one.box.left) > LEAST &&
        Math.min(lid.bottom, one.box.bottom - window.scrollY) - Math.max(lid.top, high) > LEAST;
      return lids.some(under);
    });
    if (top + window.innerHeight >= root.scrollHeight) break;
  }
  for (const one of covered) if (one.box.bottom - one.box.top < window.innerHeight) tell("covered", one.what);
  for (const control of left) {
    control.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    if (hit(control)) continue;
    const box = control.getBoundingClientRect();
    const lid = document.elementFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2);
    tell("cannot be clicked", `${name(control)}, under ${name(lid)}`);
  }
  window.scrollTo({ left: 0, top: 0, behavior: "instant" });
  return [...found.values()].flatMap((list) => [...list]);
}
