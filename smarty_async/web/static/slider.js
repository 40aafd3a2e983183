// <before-after>: two pictures under a divider that mouse, touch and keyboard move.
//
//   const slider = document.createElement("before-after");
//   slider.show({ before, after, beforeLabel, afterLabel, label, loading });   // addresses and texts
//   slider.value = 30;                                                        // percent from the left
//   slider.addEventListener("error", …);                                      // one of the pictures cannot be shown
"use strict";

(() => {
  const STEP = 2;
  const LARGE_STEP = 10;

  class BeforeAfter extends HTMLElement {
    #before = picture("before-after-before");
    #after = picture("before-after-after");
    #beforeLabel = element("span", "before-after-label before-after-label-before");
    #afterLabel = element("span", "before-after-label before-after-label-after");
    #handle = element("div", "before-after-handle");
    #value = 50;

    constructor() {
      super();
      this.#handle.tabIndex = 0;
      this.#handle.setAttribute("role", "slider");
      this.#handle.setAttribute("aria-valuemin", "0");
      this.#handle.setAttribute("aria-valuemax", "100");
      this.#handle.append(element("span", "before-after-grip"));
      for (const image of [this.#after, this.#before]) {
        image.addEventListener("load", () => this.#loaded(image));
        image.addEventListener("error", () => {
          this.#showLoading();
          this.dispatchEvent(new Event("error"));
        });
      }
      this.addEventListener("pointerdown", (event) => this.#grab(event));
      this.addEventListener("pointermove", (event) => this.#drag(event));
      this.addEventListener("keydown", (event) => {
        if (this.key(event)) event.stopPropagation();
      });
    }

    connectedCallback() {
      if (!this.firstChild) {
        this.append(this.#after, this.#before, this.#beforeLabel, this.#afterLabel, this.#handle);
      }
      this.value = this.#value;
    }

    show({ before, after, beforeLabel, afterLabel, label, loading }) {
      this.dataset.loading = loading;
      this.#before.alt = beforeLabel;
      this.#after.alt = afterLabel;
      this.#beforeLabel.textContent = beforeLabel;
      this.#afterLabel.textContent = afterLabel;
      this.#handle.setAttribute("aria-label", label);
      if (this.#before.getAttribute("src") !== before) this.#before.src = before;
      this.#after.src = after;
      this.#showLoading();
    }

    get value() {
      return this.#value;
    }

    set value(percent) {
      this.#value = Math.min(100, Math.max(0, percent));
      this.style.setProperty("--split", `${this.#value}%`);
      this.#handle.setAttribute("aria-valuenow", String(Math.round(this.#value)));
      this.#handle.setAttribute("aria-valuetext", `${Math.round(this.#value)} %`);
    }

    focus(options) {
      this.#handle.focus(options);
    }

    // Whether the key moved the divider. A page passes keys on that were pressed elsewhere.
    key(event) {
      if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return false;
      const moves = {
        ArrowLeft: this.#value - STEP,
        ArrowDown: this.#value - STEP,
        ArrowRight: this.#value + STEP,
        ArrowUp: this.#value + STEP,
        PageDown: this.#value - LARGE_STEP,
        PageUp: this.#value + LARGE_STEP,
        Home: 0,
        End: 100,
      };
      if (!(event.key in moves)) return false;
      event.preventDefault();
      this.value = moves[event.key];
      return true;
    }

    #showLoading() {
      this.classList.toggle("loading", !(this.#before.complete && this.#after.complete));
    }

    #grab(event) {
      if (event.button !== 0) return;
      event.preventDefault(); // no selection, no dragging of the picture
      this.setPointerCapture(event.pointerId);
      this.focus({ preventScroll: true });
      this.#moveTo(event);
    }

    #drag(event) {
      if (this.hasPointerCapture(event.pointerId)) this.#moveTo(event);
    }

    #moveTo(event) {
      const box = this.getBoundingClientRect();
      this.value = ((event.clientX - box.left) / box.width) * 100;
    }

    #loaded(image) {
      this.#showLoading();
      this.style.setProperty("--ratio", String(image.naturalWidth / image.naturalHeight));
    }
  }

  function element(name, className) {
    const made = document.createElement(name);
    made.className = className;
    return made;
  }

  function picture(className) {
    const image = element("img", className);
    image.draggable = false;
    image.decoding = "async";
    return image;
  }

  customElements.define("before-after", BeforeAfter);
})();
