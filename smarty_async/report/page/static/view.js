// The before/after page. Photos come from the server, or, in a page written to a file, from the page itself.
"use strict";

(() => {
  const ONE = {
    restored: "oneRestored",
    already_good: "oneAlreadyGood",
    failed: "oneFailed",
    rejected: "oneRejected",
    duplicate: "oneDuplicate",
    skipped: "oneSkipped",
    unfinished: "oneUnfinished",
  };
  const STATES = Object.keys(ONE);
  const BEST_FIRST = ["colorized_improved", "improved", "resolved", "colorized"];
  const AHEAD = "1200px"; // how far below the window photos are loaded
  const by = (id) => document.getElementById(id);

  const photos = document.getElementById("data") ? pageSource(by("data").textContent) : serverSource();
  const viewer = by("viewer");
  const slider = document.createElement("before-after");
  const chosen = { state: addressed().state, folder: addressed().folder };
  const numbers = new Intl.NumberFormat(language);
  let summary = null;
  let total = 0; // photos in all
  let folders = new Map(); // by id
  let severalSources = false;
  let cards = []; // the photos loaded so far, in order
  let more = true;
  let loading = null; // the promise of the page on its way
  let round = 0; // grows when what is shown changes: an answer for an earlier choice is dropped
  let section = null; // the section that photos are added to
  let current = -1; // position in `cards` of the photo in the viewer
  let which = null; // the output that is compared
  let preferred = null; // the output that was chosen last

  // Where photos come from

  function serverSource() {
    async function get(path) {
      const response = await fetch(path);
      if (!response.ok) throw new Error(`${path}: ${response.status}`);
      return response.json();
    }
    return {
      isServed: true,
      summary: () => get("api/summary"),
      page(after) {
        const query = new URLSearchParams({ limit: "60" });
        if (after !== null) query.set("after", after);
        for (const [name, value] of Object.entries(chosen)) if (value !== null) query.set(name, value);
        return get(`api/photos?${query}`);
      },
      thumbnail: (card, name) => `thumbnails/${card.id}/${name}?v=${card.pictures[name]}`,
      picture: (card, name) => `pictures/${card.id}/${name}?v=${card.pictures[name]}`,
    };
  }

  function pageSource(json) {
    const data = JSON.parse(json);
    const fits = (card) =>
      (chosen.state === null || card.state === chosen.state) && (chosen.folder === null || card.folder === chosen.folder);
    return {
      isServed: false,
      summary: async () => data.summary,
      page: async () => ({ photos: data.photos.filter(fits), more: false }),
      thumbnail: (card, name) => card.pictures[name],
      picture: (card, name) => card.pictures[name],
    };
  }

  // The address: what is chosen and which photo is open. So a link and a reload find it again, and Back leaves the photo.

  function addressed() {
    const query = new URLSearchParams(location.hash.slice(1));
    const number = (name) => (/^\d{1,15}$/.test(query.get(name)) ? Number(query.get(name)) : null);
    const state = STATES.includes(query.get("state")) ? query.get("state") : null;
    return { state, folder: number("folder"), photo: number("photo") };
  }

  function setAddress({ replace = false } = {}) {
    const query = new URLSearchParams();
    const photo = viewer.open ? cards[current].id : null;
    for (const [name, value] of Object.entries({ ...chosen, photo })) if (value !== null) query.set(name, value);
    const entry = history.state;
    if (replace) {
      // Without its photo, an entry is like the one before it: the next takes its place.
      history.replaceState(viewer.open ? entry : { spare: entry?.added }, "", `#${query}`);
    } else {
      history[entry?.spare ? "replaceState" : "pushState"]({ added: true }, "", `#${query}`);
    }
  }

  function returnTo() {
    const { state, folder, photo } = addressed();
    if (state !== chosen.state || folder !== chosen.folder) {
      Object.assign(chosen, { state, folder });
      showFilters();
      showFolders();
      reload();
    }
    if (photo !== null) openById(photo);
    else viewer.close();
  }

  async function openById(id) {
    const mine = round;
    const find = () => cards.findIndex((card) => card.id === id);
    for (let loaded = -1; find() < 0 && loaded < cards.length && mine === round; await load()) loaded = cards.length;
    if (mine !== round) return;
    if (find() < 0) viewer.close();
    else open(find());
  }

  // The grid

  async function begin() {
    translate();
    by("message").textContent = text("loading");
    const first = photos.page(null); // asked for at the same time
    first.catch(() => {}); // `load` says so
    try {
      await readSummary();
    } catch {
      return sayLoadFailed(begin);
    }
    const { photo } = addressed();
    const isKnown = chosen.folder === null || folders.has(chosen.folder);
    if (!isKnown) chosen.folder = null;
    showSummary();
    reload(isKnown ? first : null);
    new IntersectionObserver(fill, { rootMargin: AHEAD }).observe(by("end"));
    window.addEventListener("popstate", returnTo);
    if (photo !== null) openById(photo);
  }

  async function readSummary() {
    summary = await photos.summary();
    folders = new Map(summary.folders.map((folder) => [folder.id, folder]));
    severalSources = new Set(summary.folders.map((folder) => folder.source)).size > 1;
    total = sumOf(summary.counts);
  }

  function showSummary() {
    document.title = text("pageTitle", { title: summary.title });
    by("title").textContent = summary.title;
    const parts = [text("photos", { count: total })];
    if (summary.folders.length > 1) parts.push(text("folders", { count: summary.folders.length }));
    by("total").textContent = parts.join(" · ");
    showFilters();
    showFolders();
  }

  function showFilters() {
    const known = STATES.filter((state) => summary.counts[state]);
    by("filters").replaceChildren(
      ...[null, ...known].map((state) =>
        choice("chip", text(state ?? "all"), state ? summary.counts[state] : total, state === chosen.state, (button) => {
          chosen.state = state;
          press(by("filters"), button);
          setAddress();
          reload();
        }),
      ),
    );
  }

  function showFolders() {
    const nav = by("folders");
    if (summary.folders.length < 2) return;
    nav.hidden = false;
    const entries = [{ id: null, label: text("allFolders"), count: total }];
    for (const folder of summary.folders) {
      entries.push({ id: folder.id, label: folderLabel(folder), count: sumOf(folder.counts) });
    }
    nav.replaceChildren(
      ...entries.map(({ id, label, count }) =>
        choice("folder", label, count, id === chosen.folder, (button) => {
          chosen.folder = id;
          press(nav, button);
          setAddress();
          reload();
        }),
      ),
    );
  }

  function folderLabel(folder) {
    const name = folder.name || text("topFolder");
    return severalSources ? `${folder.source.split("/").pop()} / ${name}` : name;
  }

  function choice(className, label, count, pressed, choose) {
    const button = make("button", className);
    button.type = "button";
    button.append(make("bdi", "", label), " ", make("small", "", numbers.format(count)));
    button.setAttribute("aria-pressed", String(pressed));
    button.addEventListener("click", () => choose(button));
    return button;
  }

  function press(group, button) {
    for (const other of group.children) other.setAttribute("aria-pressed", String(other === button));
  }

  function reload(first = null) {
    round += 1;
    cards = [];
    more = true;
    loading = null;
    section = null;
    by("sections").replaceChildren();
    window.scrollTo(0, 0);
    load(first);
  }

  // One page at a time; resolves when it is in the grid.
  function load(page = null) {
    if (!more) return Promise.resolve();
    if (!loading) {
      const mine = loadPage(round, page).finally(() => {
        if (loading === mine) loading = null;
      });
      loading = mine;
    }
    return loading;
  }

  async function loadPage(mine, asked) {
    if (!cards.length) by("message").textContent = text("loading");
    let page;
    try {
      page = await (asked ?? photos.page(cards.at(-1)?.id ?? null));
      if (page.photos.some((card) => !folders.has(card.folder))) {
        await readSummary(); // a run has added a folder
        showSummary();
      }
    } catch {
      if (mine === round) sayLoadFailed(() => load());
      return;
    }
    if (mine !== round) return;
    more = page.more;
    for (const card of page.photos) add(card);
    by("message").textContent = cards.length ? "" : text("nothing");
    requestAnimationFrame(fill);
  }

  function fill() {
    const near = by("end").getBoundingClientRect().top < window.innerHeight + parseInt(AHEAD, 10);
    if (summary && more && !loading && near && !by("message").querySelector("button")) load();
  }

  function sayLoadFailed(again) {
    const button = make("button", "button", text("retry"));
    button.addEventListener("click", () => {
      by("message").textContent = text("loading");
      again();
    });
    by("message").replaceChildren(text("loadFailed"), button);
  }

  function add(card) {
    const position = cards.push(card) - 1;
    if (section?.folder !== card.folder) section = { folder: card.folder, grid: addSection(card.folder) };
    const button = make("button", "card");
    button.type = "button";
    button.dataset.position = position;
    button.addEventListener("click", () => open(position));
    const words = make("div", "card-text");
    const name = make("span", "card-name", baseName(card));
    name.title = card.name; // a long one is cut off
    words.append(name, make("span", `state state-${card.state}`, text(ONE[card.state])));
    if (card.error) words.append(make("span", "reason", reason(card.error)));
    button.append(frame(card), words);
    const item = document.createElement("li");
    item.append(button);
    section.grid.append(item);
  }

  function addSection(id) {
    const made = document.createElement("section");
    const grid = make("ul", "grid");
    const folder = folders.get(id);
    if (folder && summary.folders.length > 1) {
      const count = chosen.state ? (folder.counts[chosen.state] ?? 0) : sumOf(folder.counts);
      const heading = make("h2", "");
      heading.append(make("bdi", "", folderLabel(folder)), make("small", "", text("photos", { count })));
      made.append(heading);
    }
    made.append(grid);
    by("sections").append(made);
    return grid;
  }

  // The left part of the original and the right part of the output; the pointer moves the line between them.
  function frame(card) {
    const made = make("div", "frame");
    const best = outputs(card)[0];
    if (best) made.append(thumbnail(card, best, ""));
    if (card.pictures.before) made.append(thumbnail(card, "before", best ? "split-before" : ""));
    if (best && card.pictures.before) {
      made.classList.add("pair");
      made.addEventListener("pointermove", (event) => {
        if (event.pointerType !== "mouse") return;
        const box = made.getBoundingClientRect();
        made.style.setProperty("--split", `${((event.clientX - box.left) / box.width) * 100}%`);
      });
      made.addEventListener("pointerleave", () => made.style.removeProperty("--split"));
    }
    if (!made.childElementCount) made.append(make("span", "empty", text("noPicture")));
    return made;
  }

  function thumbnail(card, name, className) {
    const image = make("img", className);
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = ""; // the photo's name and outcome follow
    image.src = photos.thumbnail(card, name);
    return image;
  }

  function outputs(card) {
    return BEST_FIRST.filter((name) => name in card.pictures);
  }

  // One photo

  function open(position) {
    current = position;
    const card = cards[position];
    which = outputs(card).includes(preferred) ? preferred : (outputs(card)[0] ?? null);
    by("viewer-name").textContent = card.name;
    by("viewer-name").title = card.name;
    by("viewer-state").className = `state state-${card.state}`;
    by("viewer-state").textContent = text(ONE[card.state]);
    by("viewer-note").textContent = card.error ? reason(card.error) : note(card);
    by("previous").disabled = position === 0;
    by("next").disabled = position === cards.length - 1 && !more;
    showPictures(card);
    compare(card);
    const replace = viewer.open || addressed().photo === card.id;
    if (!viewer.open) {
      slider.value = 50;
      viewer.showModal();
    }
    setAddress({ replace });
    (slider.isConnected ? slider : viewer).focus({ preventScroll: true });
    if (position > cards.length - 10) load().then(() => (by("next").disabled = current === cards.length - 1));
  }

  function note(card) {
    const notes = { already_good: "alreadyGoodNote", unfinished: "unfinishedNote", duplicate: "duplicateNote" };
    const said = card.state in notes ? [text(notes[card.state])] : [];
    if (card.missing.length) said.push(text("missing", { pictures: card.missing.map((name) => text(name)).join(" · ") }));
    if (card.missing.includes("before") && photos.isServed) said.push(text("moved"));
    return said.join(" ");
  }

  function showPictures(card) {
    const names = outputs(card);
    by("pictures").replaceChildren(
      ...(names.length > 1 ? names : []).map((name) => {
        const button = make("button", "chip", text(name));
        button.type = "button";
        button.setAttribute("aria-pressed", String(name === which));
        button.addEventListener("click", () => {
          which = preferred = name;
          press(by("pictures"), button);
          compare(card);
        });
        return button;
      }),
    );
  }

  function compare(card) {
    const { before } = card.pictures;
    const name = which ?? "before";
    by("open").hidden = !(name in card.pictures) || card.pictures[name].startsWith("data:");
    if (!by("open").hidden) by("open").href = photos.picture(card, name);
    if (before && which) {
      slider.show({
        before: photos.picture(card, "before"),
        after: photos.picture(card, which),
        beforeLabel: text("before"),
        afterLabel: text(which),
        label: text("divider"),
        loading: text("loading"),
      });
      if (!slider.isConnected) by("stage").replaceChildren(slider);
    } else if (before || which) {
      const image = make("img", "");
      image.alt = `${card.name}: ${text(name)}`;
      image.addEventListener("error", () => image.replaceWith(make("p", "soft", text(photos.isServed ? "loadFailed" : "noPicture"))));
      // Of a damaged file a browser shows nothing at all; the thumbnail was decoded, or is a sign that it could not be.
      image.src = card.state === "rejected" ? photos.thumbnail(card, name) : photos.picture(card, name);
      by("stage").replaceChildren(image);
    } else {
      by("stage").replaceChildren(make("p", "soft", text("noPicture")));
    }
  }

  async function go(step) {
    if (current + step >= cards.length) await load();
    const next = current + step;
    if (next >= 0 && next < cards.length) open(next);
  }

  function onKey(event) {
    const back = event.key === "ArrowLeft";
    if ((back || event.key === "ArrowRight") && (event.shiftKey || event.ctrlKey)) {
      event.preventDefault();
      go(back ? -1 : 1);
    } else if (!event.altKey && !event.ctrlKey && !event.metaKey && /^[jkол]$/i.test(event.key)) {
      go(/^[jо]$/i.test(event.key) ? 1 : -1); // о and л: the same keys on a Russian keyboard
    } else if (slider.isConnected) {
      slider.key(event);
    }
  }

  // On the document: with the slider gone, nothing in the viewer may have the focus.
  document.addEventListener("keydown", (event) => {
    if (viewer.open) onKey(event);
  });
  slider.addEventListener("error", () => (by("viewer-note").textContent = text(photos.isServed ? "loadFailed" : "noPicture")));
  viewer.addEventListener("close", () => {
    if (addressed().photo !== null) setAddress({ replace: true });
    const card = document.querySelector(`[data-position="${current}"]`);
    card?.focus({ preventScroll: true });
    card?.scrollIntoView({ block: "nearest" });
  });
  by("close").addEventListener("click", () => viewer.close());
  by("skip").addEventListener("click", () => (document.querySelector(".card") ?? by("main")).focus());
  by("previous").addEventListener("click", () => go(-1));
  by("next").addEventListener("click", () => go(1));

  // Pictures that were never near the window are printed, too: in browsers that do not wait, the second time.
  window.addEventListener("beforeprint", () => {
    for (const image of document.querySelectorAll(".grid img")) image.loading = "eager";
  });

  function sumOf(counts) {
    return Object.values(counts).reduce((sum, count) => sum + count, 0);
  }

  function baseName(card) {
    return card.name.slice(card.name.lastIndexOf("/") + 1);
  }

  function make(name, className, content) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (content !== undefined) made.textContent = content; // never markup: names may hold anything
    return made;
  }

  begin();
})();
