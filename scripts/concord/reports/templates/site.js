// What a page can do beyond being read: tables are sorted, filtered, folded, copied, downloaded, code is copied, the front
// page is searched. Without this script everything is there.
"use strict";
(() => {
  const text = (element) => element.textContent.replace(/\s+/g, " ").trim();

  // What a cell says in full: what it is marked with, the number itself where it is shown rounded, or its text
  function exact(cell) {
    if (cell.dataset.exact !== undefined) return cell.dataset.exact;
    const data = cell.querySelector("data");
    // Beside a number may stand the mark of a note, and below it what it is held to
    if (cell.querySelector("small, sup")) return cell.firstChild.value ?? text(cell.firstChild);
    return data && text(data) === text(cell) ? data.value : text(cell);
  }

  function rows(table) {
    const head = [...table.tHead.rows].map((row) => [...row.cells].map((cell) => cell.dataset.name || text(cell)));
    const body = [...table.tBodies].flatMap((part) => [...part.rows]).filter((row) => !row.hidden);
    return [...head, ...body.map((row) => [...row.cells].map(exact))];
  }

  const quoted = (field) => (/[",\n\r]/.test(field) ? `"${field.replace(/"/g, '""')}"` : field);
  const csv = (table) => rows(table).map((row) => row.map(quoted).join(",")).join("\n") + "\n";
  const tsv = (table) => rows(table).map((row) => row.map((field) => field.replace(/\t/g, " ")).join("\t")).join("\n") + "\n";

  async function copy(content) {
    try {
      await navigator.clipboard.writeText(content);
      return true;
    } catch {
      const area = document.createElement("textarea");
      const before = document.activeElement;
      area.value = content;
      area.style.position = "fixed";
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      before?.focus();
      return done;
    }
  }

  function button(label, about, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = label;
    if (about) made.setAttribute("aria-label", `${label}: ${about}`);
    made.addEventListener("click", act);
    return made;
  }

  function named(table) {
    const caption = table.caption;
    return text(caption?.querySelector("strong") || caption || table).slice(0, 80);
  }

  function tools(table) {
    const name = named(table);
    const bar = document.createElement("div");
    const told = document.createElement("span");
    bar.className = "tools";
    told.setAttribute("role", "status");
    bar.append(
      button("Copy", name, async () => {
        told.textContent = (await copy(tsv(table))) ? "Copied, ready to paste into a spreadsheet." : "The browser refused to copy.";
      }),
      button("Download CSV", name, () => {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(new Blob([csv(table)], { type: "text/csv" }));
        link.download = `${name.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "table"}.csv`;
        link.click();
        URL.revokeObjectURL(link.href);
        told.textContent = `Downloaded ${link.download}.`;
      }),
      told,
    );
    (table.closest(".scroll") || table).after(bar);
  }

  // State: "#?grid.verdict=r+short&grid.sort=2+descending", so that a view can be sent on
  const state = new URLSearchParams(location.hash.startsWith("#?") ? location.hash.slice(2) : "");
  function keep(key, value) {
    value ? state.set(key, value) : state.delete(key);
    const hash = state.toString();
    history.replaceState(null, "", hash ? `#?${hash}` : location.pathname + location.search);
  }

  function compared(a, b) {
    // What is missing stands last, whichever way the rest is sorted
    const [x, y] = [parseFloat(a), parseFloat(b)];
    const numbers = a !== "" && b !== "" && !isNaN(x) && !isNaN(y) && !isNaN(a) && !isNaN(b);
    return numbers ? x - y : a.localeCompare(b, "en", { numeric: true });
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const first = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const key = (row, at) => row.cells[at].dataset.sort ?? exact(row.cells[at]);
    function sort(at, direction) {
      heads.forEach((head, i) => (i === at && direction ? head.setAttribute("aria-sort", direction) : head.removeAttribute("aria-sort")));
      const sorted = [...first];
      if (direction) {
        const sign = direction === "descending" ? -1 : 1;
        sorted.sort((one, other) => {
          const [a, b] = [key(one, at), key(other, at)];
          return (a === "") - (b === "") || sign * compared(a, b);
        });
      }
      body.append(...sorted);
    }
    heads.forEach((head, at) => {
      if (head.dataset.unsorted !== undefined) return;
      const label = head.innerHTML;
      head.dataset.name = text(head);
      head.innerHTML = "";
      const press = button("", "", () => {
        const next = { ascending: "descending", descending: "" }[head.getAttribute("aria-sort")] ?? "ascending";
        sort(at, next);
        keep(`${table.id}.sort`, next && `${at} ${next}`);
      });
      press.innerHTML = label;
      head.append(press);
    });
    const [at, direction] = (state.get(`${table.id}.sort`) || "").split(" ");
    if (heads[Number(at)]?.querySelector("button") && ["ascending", "descending"].includes(direction)) sort(Number(at), direction);
  }

  function filtered(form) {
    // Not form.dataset: a choice of that name stands in its place
    const table = document.getElementById(form.getAttribute("data-for"));
    const told = document.getElementById(`${table.id}-shown`);
    const all = [...table.tBodies[0].rows];
    const choices = [...form.querySelectorAll("select")];
    form.hidden = false;
    function apply() {
      for (const row of all) {
        row.hidden = choices.some((choice) => choice.value && !(row.dataset[choice.name] || "").split("|").includes(choice.value));
      }
      table.classList.toggle("filtered", choices.some((choice) => choice.value));
      const shown = all.filter((row) => !row.hidden).length;
      told.textContent = `${shown} of ${all.length} ${form.getAttribute("data-noun")} shown.`;
    }
    for (const choice of choices) {
      const wanted = state.get(`${table.id}.${choice.name}`);
      if ([...choice.options].some((option) => option.value === wanted)) choice.value = wanted;
      choice.addEventListener("change", () => {
        keep(`${table.id}.${choice.name}`, choice.value);
        apply();
      });
    }
    form.append(
      button("Show all", "", () => {
        for (const choice of choices) {
          choice.value = "";
          keep(`${table.id}.${choice.name}`, "");
        }
        apply();
      }),
    );
    apply();
  }

  // Rows that say nothing new, or the end of a long table, wait behind a button; a filter and a link bring them back
  function folding(table) {
    if (table.closest("details") || table.dataset.whole !== undefined) return;
    const all = [...table.tBodies].flatMap((part) => [...part.rows]);
    const agreeing = all.filter((row) => row.classList.contains("agreeing"));
    const [most, first] = table.matches(".dataframe") ? [10, 6] : [20, 12];
    const rest = agreeing.length > 3 ? agreeing : agreeing.length || all.length <= most ? [] : all.slice(first);
    if (!rest.length) return;
    const what = rest === agreeing ? table.dataset.agreeing || "rows that agree" : "rows";
    const press = button("", "", () => show(table.classList.contains("folded")));
    function show(open) {
      table.classList.toggle("folded", !open);
      press.textContent = `${open ? "Hide" : "Show"} ${rest.length} ${rest === agreeing ? "" : "more "}${what}`;
      press.setAttribute("aria-expanded", String(open));
    }
    rest.forEach((row) => row.classList.add("folding"));
    show(false);
    table.addEventListener("unfold", () => show(true));
    (table.closest(".scroll") || table).nextElementSibling.prepend(press);
  }

  // On a phone, and where a table is too wide, whose a quantity is stands below its name, and leaves the room to the numbers
  function narrow(table) {
    const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
    const at = heads.findIndex((head) => text(head) === "quantity");
    const more = ["group", "term"].map((name) => heads.findIndex((head) => text(head) === name)).filter((i) => i > at);
    for (const row of at < 0 || !more.length ? [] : table.tBodies[0].rows) {
      const first = row.cells[at];
      first.dataset.exact = text(first);
      for (const cell of more.map((i) => row.cells[i]).filter((cell) => cell && text(cell))) {
        const line = document.createElement("span");
        line.className = "whose";
        line.textContent = text(cell);
        first.append(line);
      }
    }
    for (const row of at < 0 ? [] : table.rows) more.forEach((i) => row.cells[i]?.classList.add("spare"));
    const frame = table.closest(".scroll");
    table.classList.toggle("tight", frame.scrollWidth > frame.clientWidth + 1);
  }

  // What goes on after a section's first text waits behind a button, where its author says so
  function section(cell) {
    const rest = [];
    for (let next = cell.nextElementSibling; next && !next.querySelector("h2"); next = next.nextElementSibling) rest.push(next);
    const press = button("", text(cell.querySelector("h2")), () => show(press.getAttribute("aria-expanded") !== "true"));
    function show(open) {
      rest.forEach((part) => part.classList.toggle("open", open));
      press.textContent = open ? "Hide what follows" : "Show the rest of this section";
      press.setAttribute("aria-expanded", String(open));
      press.setAttribute("aria-label", `${press.textContent}: ${text(cell.querySelector("h2"))}`);
    }
    rest.forEach((part) => part.classList.add("later"));
    show(false);
    rest.forEach((part) => part.addEventListener("unfold", () => show(true)));
    cell.append(press);
  }

  function copied(pre) {
    const box = document.createElement("div");
    box.className = "coded";
    pre.replaceWith(box);
    const press = button("Copy", pre.getAttribute("aria-label") || "code", async () => {
      press.textContent = (await copy(pre.textContent)) ? "Copied" : "Not copied";
      setTimeout(() => (press.textContent = "Copy"), 2000);
    });
    box.append(pre, press);
  }

  function search(form) {
    const [field, told, list] = [form.querySelector("input"), form.querySelector("[role=status]"), form.querySelector("ul")];
    const lines = [...list.children].map((line) => [line, text(line).toLowerCase()]);
    form.hidden = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      list.querySelector("li:not([hidden]) a")?.click();
    });
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const met = words.length ? lines.filter(([, content]) => words.every((word) => content.includes(word))) : [];
      const shown = new Set(met.slice(0, 12).map(([line]) => line));
      lines.forEach(([line]) => (line.hidden = !shown.has(line)));
      list.hidden = !shown.size;
      told.textContent = words.length ? `${met.length} found${met.length > 12 ? ", the first 12 shown" : ""}.` : "";
    });
  }

  // What was opened is open still when a reader comes back
  function kept(details) {
    const key = `${details.querySelector("table").id}.open`;
    details.open = state.has(key);
    details.addEventListener("toggle", () => details.open !== state.has(key) && keep(key, details.open ? "yes" : ""));
  }

  // The other method's page opens at the cell that is read here
  function switched(link) {
    link.addEventListener("click", () => {
      const at = [...document.querySelectorAll("main > .cell[id]")].findLast((cell) => cell.getBoundingClientRect().top < innerHeight / 3);
      if (at && scrollY > 200) link.hash = at.id;
    });
  }

  // What a link leads to is shown, though it be folded
  function reveal() {
    let name = location.hash.startsWith("#?") ? "" : location.hash.slice(1);
    try {
      name = decodeURIComponent(name);
    } catch {
      // As it was written: a stray % is no escape
    }
    const target = name && document.getElementById(name);
    if (!target) return;
    for (let part = target.closest("details"); part; part = part.parentElement.closest("details")) part.open = true;
    target.closest(".later")?.dispatchEvent(new Event("unfold"));
    if (target.closest("tr.folding")) target.closest("table").dispatchEvent(new Event("unfold"));
    target.scrollIntoView({ behavior: "instant" });
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("form.filters").forEach(filtered);
  document.querySelectorAll("table").forEach(tools);
  document.querySelectorAll(".card table").forEach(narrow);
  document.querySelectorAll("table").forEach(folding);
  document.querySelectorAll(".source pre, .calls pre, pre:has(> code)").forEach(copied);
  document.querySelectorAll(".cell.fold").forEach(section);
  document.querySelectorAll(".switch a").forEach(switched);
  document.querySelectorAll("details.all").forEach(kept);
  document.querySelectorAll("form.search").forEach(search);
  window.addEventListener("hashchange", reveal);
  reveal();
})();
