// The uploader: chosen files stay in the browser, and are sent when the page says which of them make a scan.
import { downloadZip } from "./client-zip.js";
import { chosenFiles, droppedFiles } from "./chosenFiles.js";

const MAX_ATTEMPTS = 4;
const MAX_PAUSE_MS = 10_000;
const LISTED = 50;
const UNAVAILABLE = 503;

const FORGET_MS = 2000;

const uploaders = new Map();

/** Create the uploader, or give the existing one the page's data; returns the function that ends it. */
export function mount(component) {
  const { parentElement, data } = component;
  if (!uploaders.has(data.key)) uploaders.set(data.key, new Uploader());
  const uploader = uploaders.get(data.key);
  uploader.attach(parentElement);
  uploader.receive(component);
  return () => setTimeout(() => uploader.forgetUnlessShown(data.key), FORGET_MS);
}

class Uploader {
  constructor() {
    this.files = [];
    this.abort = null;
    this.root = document.createElement("div");
    this.root.innerHTML = `
      <div class="uploader" role="group" aria-label="Files of the scan">
        <div class="zone">
          <span>Drop a scan here, or choose</span>
          <button type="button" class="files" aria-label="Choose files">Files</button>
          <button type="button" class="folder" aria-label="Choose a folder">A folder</button>
          <small></small>
          <input type="file" multiple aria-label="Files">
          <input type="file" multiple webkitdirectory aria-label="Folder">
        </div>
        <div class="chosen" hidden>
          <div class="summary"><span></span><button type="button">Remove all</button></div>
          <ul></ul>
        </div>
        <div class="sending" hidden>
          <progress max="1" value="0" aria-label="Upload"></progress>
          <span role="status"></span>
          <button type="button">Cancel</button>
        </div>
      </div>`;
    this.zone = this.find(".zone");
    for (const kind of ["files", "folder"]) {
      const input = this.find(`input[aria-label="${kind === "files" ? "Files" : "Folder"}"]`);
      this.find(`.${kind}`).onclick = () => input.click();
      input.onchange = () => {
        this.add(chosenFiles(input.files));
        input.value = "";
      };
    }
    this.zone.ondragover = (event) => {
      event.preventDefault();
      this.zone.classList.add("over");
    };
    this.zone.ondragleave = () => this.zone.classList.remove("over");
    this.zone.ondrop = async (event) => {
      event.preventDefault();
      this.zone.classList.remove("over");
      this.add(await droppedFiles(event.dataTransfer));
    };
    this.find(".summary button").onclick = () => this.keep(() => false);
    this.find(".sending button").onclick = () => this.abort?.abort();
  }

  /** Show the uploader there: the page may draw its place again, and what was chosen stays chosen. */
  attach(parentElement) {
    const place = parentElement.querySelector(".uploader-root");
    if (this.root.parentElement !== place) place.replaceChildren(this.root);
  }

  /** Drop the files and stop sending, if the page has removed the uploader for good. */
  forgetUnlessShown(key) {
    if (this.root.isConnected) return;
    this.abort?.abort();
    uploaders.delete(key);
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  receive({ data, setStateValue, setTriggerValue }) {
    Object.assign(this, { setStateValue, setTriggerValue });
    this.find("small").textContent = data.hint;
    const { plan } = data;
    if (!plan) return;
    if (plan.id !== this.plan) this.send(plan);
    else if (this.answers) this.setTriggerValue("answers", this.answers); // the page was away when they were sent
  }

  /** Add files, unless they are being sent; one of the same name, path and size is the same. */
  add(files) {
    if (this.abort) return;
    const known = new Set(this.files.map(identity));
    const added = files.filter((one) => !known.has(identity(one)));
    if (!added.length) return;
    this.files = [...this.files, ...added].sort((one, other) => one.path.localeCompare(other.path, "en", { numeric: true }));
    this.publish();
  }

  /** Keep the files that a condition holds for. */
  keep(condition) {
    this.files = this.files.filter(condition);
    this.publish();
  }

  publish() {
    this.draw();
    this.setStateValue("chosen", this.files.map(({ path, file }) => [path, file.size]));
  }

  draw() {
    const { files, abort } = this;
    const bytes = files.reduce((sum, { file }) => sum + file.size, 0);
    this.find(".chosen").hidden = !files.length;
    this.find(".summary span").textContent = `${files.length} ${files.length === 1 ? "file" : "files"}, ${megabytes(bytes)}`;
    const rows = files.slice(0, LISTED).map((one) => this.row(one));
    if (files.length > LISTED) rows.push(row(`and ${files.length - LISTED} more`));
    this.find("ul").replaceChildren(...rows);
    this.find(".sending").hidden = !abort;
    for (const button of this.root.querySelectorAll(".zone button, .chosen button")) button.disabled = Boolean(abort);
  }

  row(one) {
    const made = row(one.path);
    const remove = document.createElement("button");
    Object.assign(remove, { type: "button", textContent: "×", onclick: () => this.keep((other) => other !== one) });
    remove.setAttribute("aria-label", `Remove ${one.path}`);
    made.append(remove);
    return made;
  }

  /** Send the scans of a plan one after another; the page gets an answer for each, null for those that were cancelled. */
  async send(plan) {
    this.plan = plan.id;
    this.answers = null;
    this.abort = new AbortController();
    const { signal } = this.abort;
    this.draw();
    const answers = [];
    for (const [index, scan] of plan.scans.entries()) {
      const progress = (share) => this.show((index + share) / plan.scans.length);
      progress(0);
      answers.push(signal.aborted ? null : await this.sendScan(plan.url, scan, progress, signal));
    }
    this.abort = null;
    this.draw();
    this.answers = { plan: plan.id, answers };
    if (this.root.isConnected) this.setTriggerValue("answers", this.answers);
  }

  show(share) {
    this.find("progress").value = share;
    this.find(".sending span").textContent = share < 1 ? `${Math.floor(share * 100)} %` : "Storing …";
  }

  /** Send a scan, again if the service is away for a moment: its key never makes a second job. */
  async sendScan(url, scan, progress, signal) {
    try {
      const form = await this.form(scan);
      for (let attempt = 1; ; attempt++) {
        signal.throwIfAborted();
        const answer = await post(new URL(url, document.baseURI), scan.key, form, progress, signal);
        if (answer.status && answer.status !== UNAVAILABLE || attempt === MAX_ATTEMPTS) return answer;
        await pause(Math.min(retryMs(answer) ?? 1000 * 2 ** (attempt - 1), MAX_PAUSE_MS), signal);
      }
    } catch (error) {
      if (signal.aborted) return null;
      return { status: 0, headers: {}, body: String(error) }; // a file was moved or deleted after it was chosen
    }
  }

  async form({ fields, parts }) {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    for (const { field, name, files, names } of parts) {
      const members = files.map((index) => this.files[index].file);
      form.append(field, names.length ? await packed(members, names) : members[0], name);
    }
    return form;
  }
}

/** A ZIP of files, not compressed: what is large in a study already is. */
function packed(files, names) {
  return downloadZip(files.map((input, index) => ({ name: names[index], input }))).blob();
}

/** Send a form; the answer has no status if the page's server could not be reached. */
function post(url, key, form, progress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", url);
    request.setRequestHeader("Idempotency-Key", key);
    request.upload.onprogress = ({ loaded, total }) => progress(total ? loaded / total : 0);
    request.onloadend = () => resolve(answerOf(request));
    const cancel = () => {
      request.onloadend = null;
      request.abort();
      reject(new DOMException("cancelled", "AbortError"));
    };
    signal.addEventListener("abort", cancel, { once: true });
    request.send(form);
  });
}

function answerOf(request) {
  const headers = {};
  for (const name of ["Content-Type", "Retry-After"]) {
    const value = request.status ? request.getResponseHeader(name) : null;
    if (value) headers[name] = value;
  }
  return { status: request.status, headers, body: request.responseText };
}

function retryMs({ headers }) {
  const seconds = Number.parseInt(headers["Retry-After"], 10);
  return Number.isNaN(seconds) ? null : 1000 * seconds;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", reject, { once: true });
  });
}

function identity({ path, file }) {
  return `${path}/${file.size}/${file.lastModified}`;
}

function row(text) {
  const made = document.createElement("li");
  const span = document.createElement("span");
  Object.assign(span, { textContent: text, title: text });
  made.append(span);
  return made;
}

function megabytes(bytes) {
  return bytes < 100_000 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}
