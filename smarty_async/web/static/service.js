// The embedded service's page: sends photos to the service's own API, a few in a request, and shows what comes back.
"use strict";

(() => {
  const API = "/api/v1/photo/improve?oauth_provider=page&oauth_token=page"; // the embedded service takes any token
  const PHOTOS_IN_REQUEST = 3;
  const BYTES_IN_REQUEST = 20_000_000;
  const KINDS = ["colorized_improved", "improved", "resolved", "colorized"]; // best first
  const by = (id) => document.getElementById(id);
  const waiting = [];
  let count = 0;
  let done = 0;
  let sending = false;

  translate();
  translate(by("photo").content);
  document.title = text("serviceTitle");
  fetch("/healthz")
    .then((response) => response.json())
    .then(({ engine }) => (by("engine").textContent = text("engine", { engine })))
    .catch(() => {});

  // Taking photos in

  by("files").addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = ""; // the same file may be chosen again
  });
  // Dropped beside the frame, a photo must not replace the page.
  for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
  window.addEventListener("dragover", () => by("drop").classList.add("over"));
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) by("drop").classList.remove("over");
  });
  window.addEventListener("drop", (event) => {
    by("drop").classList.remove("over");
    take(event.dataTransfer.files);
  });

  function take(files) {
    const mode = document.querySelector("input[name=mode]:checked").value;
    const items = document.createDocumentFragment();
    for (const file of files) {
      const photo = { file, mode, before: URL.createObjectURL(file), item: makeItem(file) };
      items.append(photo.item);
      const preview = photo.item.querySelector(".preview");
      preview.addEventListener("error", () => preview.removeAttribute("src")); // TIFF, for most browsers
      preview.src = photo.before;
      preview.alt = text("before");
      waiting.push(photo);
      count += 1;
    }
    by("photos").prepend(items);
    showProgress();
    send();
  }

  function makeItem(file) {
    const item = by("photo").content.cloneNode(true).firstElementChild;
    item.querySelector("h2").textContent = file.name; // text, never markup
    say(item, text("waiting"));
    return item;
  }

  function say(item, words, className = "") {
    item.className = `photo ${className}`;
    item.querySelector(".state").textContent = words;
  }

  function showProgress() {
    by("progress").textContent = count ? text("photosDone", { done, count }) : "";
  }

  // Sending them, one request after the other

  async function send() {
    if (sending) return;
    sending = true;
    while (waiting.length) await sendTogether(nextPhotos());
    sending = false;
  }

  function nextPhotos() {
    const photos = [waiting.shift()];
    let bytes = photos[0].file.size;
    while (photos.length < PHOTOS_IN_REQUEST && waiting[0]?.mode === photos[0].mode) {
      bytes += waiting[0].file.size;
      if (bytes > BYTES_IN_REQUEST) break;
      photos.push(waiting.shift());
    }
    return photos;
  }

  async function sendTogether(photos) {
    for (const { item } of photos) say(item, text("working"), "working");
    let answer;
    try {
      answer = await ask(photos);
    } catch (error) {
      // One photo may have spoiled the request for the others.
      if (photos.length > 1 && error instanceof Refused) {
        for (const photo of photos) await sendTogether([photo]);
      } else {
        const reason = error instanceof Refused ? error.message : text("noAnswer");
        for (const photo of photos) finish(photo, { status: 1, error: reason });
      }
      return;
    }
    photos.forEach((photo, number) => {
      const found = (answer.improve ?? answer.resolution ?? []).find((one) => one.name === `file_${number}`);
      finish(photo, found ?? { status: 1, error: text("noAnswer") });
    });
  }

  class Refused extends Error {}

  async function ask(photos) {
    const form = new FormData();
    photos.forEach(({ file }, number) => form.append(`file_${number}`, file, "photo"));
    const mode = photos[0].mode;
    const meta = { mode: ["improve"], images: photos.map((_, number) => ({ name: `file_${number}` })) };
    if (mode !== "improve") Object.assign(meta, { mode: ["resolution"], rfactor: Number(mode), rtype: "photo" });
    form.append("meta", JSON.stringify(meta));
    const response = await fetch(API, { method: "POST", body: form });
    const envelope = await response.json();
    if (envelope.status !== 200) throw new Refused(String(envelope.body));
    return envelope.body;
  }

  // Showing what came back

  function finish(photo, answer) {
    done += 1;
    showProgress();
    const outputs = KINDS.filter((kind) => answer[kind]);
    if (answer.status !== 0) {
      say(photo.item, text("error", { reason: answer.error ?? "" }), "failed");
    } else if (!outputs.length) {
      say(photo.item, text("good"));
    } else {
      say(photo.item, text("done"));
      const urls = Object.fromEntries(outputs.map((kind) => [kind, URL.createObjectURL(jpeg(answer[kind]))]));
      showOutputs(photo, urls);
    }
  }

  function showOutputs({ item, file, before }, urls) {
    const kinds = Object.keys(urls);
    const preview = item.querySelector(".preview");
    const slider = document.createElement("before-after");
    const show = (kind) => {
      if (!preview.hasAttribute("src")) {
        preview.hidden = true; // the browser cannot show the original
        const image = item.querySelector(".result") ?? document.createElement("img");
        image.className = "preview result";
        image.alt = text(kind);
        image.src = urls[kind];
        item.querySelector(".stage").append(image);
        return;
      }
      const labels = { beforeLabel: text("before"), afterLabel: text(kind), label: text("divider"), loading: text("loading") };
      slider.show({ before, after: urls[kind], ...labels });
      if (!slider.isConnected) item.querySelector(".stage").replaceChildren(slider);
    };
    show(kinds[0]);
    for (const kind of kinds.length > 1 ? kinds : []) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "chip";
      button.textContent = text(kind);
      button.setAttribute("aria-pressed", String(kind === kinds[0]));
      button.addEventListener("click", () => {
        for (const other of button.parentElement.children) {
          other.setAttribute("aria-pressed", String(other === button));
        }
        show(kind);
      });
      item.querySelector(".outputs").append(button);
    }
    for (const kind of kinds) {
      const link = document.createElement("a");
      link.href = urls[kind];
      link.download = `${file.name.replace(/\.\w+$/, "")}-${kind}.jpg`;
      link.textContent = text("download", { picture: text(kind) });
      item.querySelector(".links").append(link);
    }
  }

  function jpeg(base64) {
    return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type: "image/jpeg" });
  }
})();
