// What the pages do besides being read: search, light and dark, the menu of small screens, tables that sort and filter, printing.
// Everything is there without it, but for these. Nothing is fetched from elsewhere: the index of the search is a script beside this one.
"use strict";
const root = document.documentElement;
const one = (name) => document.getElementById(name);
root.classList.add("with-script");

// Light and dark: the system's choice, until the reader makes one. Some browsers keep nothing for pages from a disk.
const dark = matchMedia("(prefers-color-scheme: dark)");
const kept = (value) => {
  try {
    if (value) localStorage.setItem("theme", value);
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
};
function setTheme(name) {
  if (name) root.dataset.theme = name;
  const now = root.dataset.theme || (dark.matches ? "dark" : "light");
  one("theme").textContent = now === "dark" ? "Light" : "Dark";
  return now;
}
setTheme(kept());
dark.addEventListener("change", () => setTheme());
one("theme").hidden = false;
one("theme").addEventListener("click", () => kept(setTheme(setTheme() === "dark" ? "light" : "dark")));

one("menu").hidden = false;
one("menu").addEventListener("click", () => {
  const open = one("course").classList.toggle("open");
  one("menu").setAttribute("aria-expanded", String(open));
});
const here = document.querySelector("#course [aria-current]");
if (here) one("course").scrollTop = here.offsetTop - one("course").clientHeight / 3;

// Search: every word that is typed must stand in a section, in its heading or in the title of its page; the best sections first.
const SHOWN = 30;
function loadIndex() {
  if (!window.searchIndex && !document.querySelector("script[src='search.js']")) {
    const script = document.createElement("script");
    script.src = "search.js";
    script.addEventListener("load", search);
    document.head.append(script);
  }
}
function found(typed) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const scored = [];
  for (const [page, title, anchor, heading, text] of words.length ? window.searchIndex : []) {
    const places = [title, heading, text].map((place) => place.toLowerCase());
    let score = 0;
    for (const word of words) {
      const inside = places.map((place) => place.split(word).length - 1);
      if (!inside[0] && !inside[1] && !inside[2]) {
        score = -1;
        break;
      }
      score += 8 * Boolean(inside[0]) + 12 * Boolean(inside[1]) + Math.min(inside[2], 5);
    }
    if (score > 0) scored.push({ score, page, title, anchor, heading, text, words });
  }
  return scored.sort((a, b) => b.score - a.score);
}
function around(text, words) {
  const low = text.toLowerCase();
  const at = Math.max(0, ...words.map((word) => low.indexOf(word)).filter((place) => place >= 0).slice(0, 1));
  const from = Math.max(0, at - 60);
  const piece = document.createElement("span");
  piece.append(from ? "…" : "");
  let rest = text.slice(from, from + 180);
  while (rest) {
    const next = words.map((word) => [rest.toLowerCase().indexOf(word), word.length]).filter(([place]) => place >= 0);
    const [place, length] = next.length ? next.reduce((a, b) => (b[0] < a[0] ? b : a)) : [rest.length, 0];
    piece.append(rest.slice(0, place));
    if (length) {
      const mark = document.createElement("mark");
      mark.textContent = rest.slice(place, place + length);
      piece.append(mark);
    }
    rest = rest.slice(place + length);
  }
  return piece;
}
function search() {
  const typed = one("search").value.trim();
  one("found").hidden = !typed;
  if (!typed || !window.searchIndex) return;
  const all = found(typed);
  const items = all.slice(0, SHOWN).map(({ page, title, anchor, heading, text, words }) => {
    const link = document.createElement("a");
    link.href = page + (anchor ? "#" + encodeURIComponent(anchor) : "");
    link.textContent = heading && heading !== title ? `${title}: ${heading}` : title;
    link.addEventListener("click", () => (one("found").hidden = true));
    const item = document.createElement("li");
    item.append(link, around(text, words));
    return item;
  });
  const more = all.length > SHOWN ? `, the first ${SHOWN} are shown` : "";
  one("found-count").textContent = `${all.length || "No"} ${all.length === 1 ? "place" : "places"} with “${typed}”${more}.`;
  one("found-list").replaceChildren(...items);
}
document.querySelector(".search").hidden = false;
document.querySelector(".search").addEventListener("submit", (event) => {
  event.preventDefault();
  document.querySelector("#found-list a")?.focus();
});
one("search").addEventListener("focus", loadIndex);
one("search").addEventListener("input", () => {
  loadIndex();
  search();
});
document.addEventListener("keydown", (event) => {
  const writing = event.target.closest("input, select, textarea");
  if (event.key === "/" && !writing) {
    event.preventDefault();
    one("search").focus();
  }
  if (event.key === "Escape" && !one("found").hidden) {
    one("search").value = "";
    one("found").hidden = true;
    one("search").focus();
  }
});

// What is wider than the page scrolls sideways, with the keyboard too.
function reach() {
  const boxes = [...document.querySelectorAll("main pre, main .wide")];
  const wider = boxes.map((box) => box.scrollWidth > box.clientWidth); // all are measured before the first is changed
  boxes.forEach((box, place) => {
    const what = box.matches(".wide") ? "Table" : "Text";
    const about = { tabindex: "0", role: "group", "aria-label": `${what}, scrolls sideways` };
    for (const [name, value] of Object.entries(about)) wider[place] ? box.setAttribute(name, value) : box.removeAttribute(name);
  });
}
addEventListener("resize", reach);
addEventListener("load", reach);
reach();

// Tables that sort by a click on a column's head, and filter by what is typed and chosen.
const LAST = Number.NEGATIVE_INFINITY;
function sorted(table, column, down) {
  const value = (row) => {
    const cell = row.cells[column];
    return cell.dataset.number === undefined ? cell.textContent : Number(cell.dataset.number);
  };
  const numbers = [...table.tBodies[0].rows].some((row) => row.cells[column].dataset.number !== undefined);
  const key = (row) => (numbers && typeof value(row) === "string" ? (down ? LAST : -LAST) : value(row));
  const order = (a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (down ? -1 : 1);
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
}
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numbers = [...table.tBodies[0].rows].some((row) => row.cells[column].dataset.number !== undefined);
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numbers;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      sorted(table, column, down);
    });
  });
  filtered(table);
}
function filtered(table) {
  const filters = document.querySelector(`.filters[data-for="${table.id}"]`);
  if (!filters) return;
  const columns = [...table.tHead.rows[0].cells].map((head) => head.textContent);
  const apply = () => {
    const typed = filters.querySelector("input").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = [...filters.querySelectorAll("select")].filter((select) => select.value);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      const fits =
        typed.every((word) => text.includes(word)) &&
        chosen.every((select) => row.cells[columns.indexOf(select.name)].textContent === select.value);
      row.hidden = !fits;
      shown += fits;
    }
    filters.querySelector("output").textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
    reach();
  };
  for (const select of filters.querySelectorAll("select")) {
    const column = columns.indexOf(select.name);
    const values = new Set([...table.tBodies[0].rows].map((row) => row.cells[column].textContent));
    select.append(...[...values].map((value) => new Option(value, value)));
    select.value = [...values].includes(select.dataset.first) ? select.dataset.first : "";
  }
  filters.hidden = false;
  filters.addEventListener("input", apply);
  apply();
}

// On paper every folded answer is open.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((box) => (box.open = true)));
