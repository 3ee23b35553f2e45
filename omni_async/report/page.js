
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const VISIBLE_LINES = 5;
  const asked = new URLSearchParams(location.hash.slice(1));
  const chosen = {
    state: data.states.includes(asked.get("state")) ? asked.get("state") : "",
    model: asked.get("model") || "",
    words: asked.get("q") || "",
    page: Math.max(0, (Number.parseInt(asked.get("page"), 10) || 1) - 1),
  };

  // Everything from outside goes through here: text nodes, and attributes that cannot run.
  function make(name, attributes = {}, ...inside) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (value === true) made.setAttribute(key, "");
      else if (value !== false && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...inside.filter((one) => one !== null && one !== undefined));
    return made;
  }

  function lasting(seconds) {
    if (seconds < 100) return `${seconds} s`;
    const whole = Math.round(seconds), hours = Math.floor(whole / 3600), minutes = Math.floor((whole % 3600) / 60);
    return hours ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
  }

  function local(iso) {
    const time = new Date(iso);
    return Number.isNaN(time.getTime()) ? iso : time.toLocaleString();
  }

  // --- one row ---

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        entry.target.preload = "metadata";
        seen.unobserve(entry.target);
      }
    }
  });

  function stage(row) {
    const place = make("div", { class: "stage" });
    const say = (...inside) => place.replaceChildren(make("p", {}, ...inside));
    if (row.file) {
      const video = make("video", {
        controls: true, preload: "none", playsinline: true, src: row.file, "aria-label": `Video of ${row.id}`,
      });
      video.addEventListener("error", () => say("The file is not where it was stored, or cannot be played here: ",
        make("a", { href: row.file }, "open it")));
      seen.observe(video);
      place.append(video);
    } else if (row.url && /^https?:\/\//i.test(row.url)) {
      const until = row.until ? ` (until ${local(row.until)})` : "";
      say("Not on disk. ", make("a", { href: row.url, rel: "noreferrer noopener", target: "_blank" },
        "Open it at the gateway"), until);
    } else {
      return null;
    }
    return place;
  }

  function folding(text, kind) {
    const told = make("p", { class: `${kind} clamped`, dir: "auto" }, text);
    const more = make("button", { type: "button", class: "more", "aria-expanded": "false", hidden: true }, "Show all");
    more.addEventListener("click", () => {
      const open = told.classList.toggle("clamped") === false;
      if (open) told.setAttribute("tabindex", "0");
      else told.removeAttribute("tabindex");
      more.setAttribute("aria-expanded", String(open));
      more.textContent = open ? "Show less" : "Show all";
    });
    if (text.length > 60 * VISIBLE_LINES || text.split("\n").length > VISIBLE_LINES) more.hidden = false;
    return [told, more];
  }

  function facts(row) {
    const list = make("dl");
    const add = (name, value) => {
      if (value !== undefined && value !== "") {
        list.append(make("dt", { dir: "auto" }, name), make("dd", { dir: "auto" }, String(value)));
      }
    };
    add("Mode", row.mode);
    add("Model", row.model);
    add("Duration", row.duration && `${row.duration} s`);
    add("Format", [row.resolution, row.ratio].filter(Boolean).join(" "));
    add("Took", row.took !== undefined ? lasting(row.took) : undefined);
    add("Attempts", row.attempts);
    add("Task", row.task);
    for (const [name, value] of Object.entries(row.carried || {})) add(name, value);
    if (row.gone) add("Sheet", "no longer in it");
    return list.childElementCount ? list : null;
  }

  function settling(row) {
    if (!row.settle) return null;
    const list = make("ul", { class: "settle", "aria-label": `Commands that settle ${row.id}` });
    for (const [means, command] of row.settle) {
      const line = make("code", {}, command);
      const copy = make("button", { type: "button", "aria-label": `Copy: ${means}` }, "Copy");
      copy.addEventListener("click", () => copied(line, copy));
      list.append(make("li", {}, means, make("div", { class: "line" }, line, copy)));
    }
    return list;
  }

  async function copied(line, button) {
    try {
      await navigator.clipboard.writeText(line.textContent);
    } catch {
      getSelection().selectAllChildren(line);
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  }

  function card(row, number) {
    const kind = row.state.replace(/ /g, "-"), name = `row-${number}`;
    const prompt = row.prompt !== undefined ? folding(row.prompt, "prompt")
      : row.unknown ? [make("p", { class: "unknown" }, "The prompt is not kept in the journal.")] : [];
    const text = make("div", { class: "text" },
      make("div", { class: "title" }, make("h3", { id: name, dir: "auto" }, row.id),
        make("span", { class: `state ${kind}` }, row.state)),
      ...(row.error ? folding(row.error, "error") : []), settling(row), ...prompt, facts(row));
    return make("li", {}, make("article", { class: kind, "aria-labelledby": name }, stage(row), text));
  }

  // --- which rows ---

  function haystack(row) {
    row.hay ??= [row.id, row.prompt, row.model, row.mode, row.task, row.error, ...Object.values(row.carried || {})]
      .filter((one) => one !== undefined).join("\n").toLowerCase();
    return row.hay;
  }

  function found() {
    const words = chosen.words.toLowerCase().split(/\s+/).filter(Boolean);
    return data.rows.filter((row) => (!chosen.state || row.state === chosen.state)
      && (!chosen.model || row.model === chosen.model)
      && (!words.length || words.every((word) => haystack(row).includes(word))));
  }

  function remember() {
    const kept = new URLSearchParams();
    for (const [name, value] of [["state", chosen.state], ["model", chosen.model], ["q", chosen.words]]) {
      if (value) kept.set(name, value);
    }
    if (chosen.page) kept.set("page", String(chosen.page + 1));
    try {
      history.replaceState(null, "", `#${kept}`);
    } catch {
      // Some browsers refuse it for a local file: the choice is only lost with a reload.
    }
  }

  function show() {
    const rows = found(), pages = Math.max(1, Math.ceil(rows.length / data.size));
    chosen.page = Math.min(chosen.page, pages - 1);
    const first = chosen.page * data.size, shown = rows.slice(first, first + data.size);
    for (const video of byId("cards").querySelectorAll("video")) {
      seen.unobserve(video);
      video.pause();
      video.removeAttribute("src");
    }
    byId("cards").replaceChildren(...shown.map((row, place) => card(row, first + place)));
    const all = data.rows.length.toLocaleString();
    byId("found").textContent = !rows.length ? (data.rows.length ? "No row fits." : "There are no rows yet.")
      : `Rows ${(first + 1).toLocaleString()}–${(first + shown.length).toLocaleString()} of ${rows.length.toLocaleString()}`
        + (rows.length < data.rows.length ? ` that fit, of ${all}` : "");
    byId("place").textContent = `Page ${chosen.page + 1} of ${pages}`;
    byId("pager").hidden = pages === 1;
    byId("before").disabled = chosen.page === 0;
    byId("after").disabled = chosen.page === pages - 1;
  }

  function choose(change) {
    Object.assign(chosen, { page: 0 }, change);
    show();
    remember();
  }

  function turn(by) {
    choose({ page: chosen.page + by });
    byId("rows").focus({ preventScroll: true });
    byId("rows").scrollIntoView();
  }

  // --- the controls ---

  function chips() {
    const counts = new Map();
    for (const row of data.rows) counts.set(row.state, (counts.get(row.state) || 0) + 1);
    for (const [value, word, count] of [["", "all", data.rows.length], ...data.states.filter((one) => counts.has(one)).map((one) => [one, one, counts.get(one)])]) {
      const input = make("input", { type: "radio", name: "state", value });
      input.checked = value === chosen.state;
      input.addEventListener("change", () => choose({ state: value }));
      byId("states").append(make("label", { class: "chip" }, input, make("span", {}, `${word} ${count.toLocaleString()}`)));
    }
  }

  function models() {
    const names = [...new Set(data.rows.map((row) => row.model).filter(Boolean))].sort();
    byId("model").append(...names.map((name) => make("option", { value: name }, name.length > 40 ? `${name.slice(0, 39)}…` : name)));
    byId("model").value = names.includes(chosen.model) ? chosen.model : (chosen.model = "");
    byId("model").addEventListener("change", (event) => choose({ model: event.target.value }));
  }

  let typing;
  byId("words").value = chosen.words;
  byId("words").addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => choose({ words: event.target.value }), 120);
  });
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("before").addEventListener("click", () => turn(-1));
  byId("after").addEventListener("click", () => turn(1));
  for (const time of document.querySelectorAll("time")) time.textContent = local(time.dateTime);
  if (innerWidth < 700 && byId("plots")) byId("plots").open = false;
  chips();
  models();
  byId("filter").hidden = data.rows.length === 0;
  show();
})();
