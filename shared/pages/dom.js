// Building elements. Text is always text: nothing here parses markup.
const SVG = "http://www.w3.org/2000/svg";

/** h("p.muted.small", {title: "…"}, "text", node, …) — classes after dots; `on…` functions are listeners; null children are left out. */
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  return fill(set(element, attributes), children);
}

export function s(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElementNS(SVG, tag);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  return fill(set(element, attributes), children);
}

export function set(element, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value === false || value === null || value === undefined) element.removeAttribute(key);
    else element.setAttribute(key, value);
  }
  return element;
}

export function fill(element, children) {
  element.replaceChildren(...[children].flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Change an element's text only when it differs: an unchanged page is not laid out again. */
export function say(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
  return element;
}

const PATHS = {
  theme: "M12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z",
  out: "M9 4H5a1 1 0 0 0-1 1v14a1 1 0 0 0 1 1h4M15 8l4 4-4 4M19 12H9",
  plus: "M12 5v14M5 12h14",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4.5 20.5c1-4 4-5.5 7.5-5.5s6.5 1.5 7.5 5.5",
  pause: "M8 5v14M16 5v14", play: "M7 5l12 7-12 7z", up: "M12 19V6M6 11l6-6 6 6", stop: "M6 6h12v12H6z",
  link: "M14 5h5v5M19 5l-8 8M11 6H6a1 1 0 0 0-1 1v11a1 1 0 0 0 1 1h11a1 1 0 0 0 1-1v-5",
};

export function icon(name) {
  return s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: PATHS[name] }));
}
