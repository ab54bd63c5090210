/** Completes what is typed into the search field: fields, then the values that runs have. */

const MOST = 12;

const field = /** @type {HTMLInputElement | null} */ (document.querySelector("[data-words]"));
if (field) complete(field);

/** @param {HTMLInputElement} field */
function complete(field) {
  const frame = document.createElement("span");
  frame.className = "words";
  field.replaceWith(frame);
  const list = document.createElement("ul");
  list.id = "words-list";
  list.hidden = true;
  list.setAttribute("role", "listbox");
  list.setAttribute("aria-label", "completions");
  frame.append(field, list);
  for (const [name, value] of [["role", "combobox"], ["aria-autocomplete", "list"], ["aria-controls", list.id], ["aria-expanded", "false"]]) field.setAttribute(name, value);

  /** @type {{fields: string[], metrics: string[], figures: string[], values: Record<string, string[]>} | null} */
  let known = null;
  let asked = false;
  /** @type {string[]} */
  let offered = [];
  let at = -1;

  /** The term that the cursor stands in, and where it begins. */
  function term() {
    const before = field.value.slice(0, field.selectionStart ?? field.value.length);
    // A quoted value may hold spaces.
    const said = /(?:"[^"]*"|[^\s"()])*(?:"[^"]*)?$/.exec(before)?.[0] ?? "";
    return { from: before.length - said.length, said };
  }

  /** @param {string} said */
  function completionsOf(said) {
    if (!known) return [];
    const no = said.startsWith("-") ? "-" : "";
    const bare = said.slice(no.length);
    const split = /^([\w./]+)(:|!=)(.*)$/.exec(bare);
    if (split) {
      const [, name, how, rest] = split;
      const values = name.includes("/") ? ["any", "none"] : (known.values[name] ?? []);
      const [, before, begun] = /^(.*,)?(.*)$/.exec(rest) ?? ["", "", rest];
      return matching(values, begun).map((value) => `${no}${name}${how}${before ?? ""}${/[\s,()]/.test(value) ? `"${value}"` : value}`);
    }
    if (/[<>=]/.test(bare)) return [];
    const [, metric, figure] = /^(\S+\/\S+)\.(\w*)$/.exec(bare) ?? [];
    if (metric && known.metrics.includes(metric)) return matching(known.figures, figure).map((each) => `${no}${metric}.${each}>`);
    const fields = known.fields.map((name) => `${name}${name in (known?.values ?? {}) ? ":" : name === "created" || name === "started" || name === "ended" ? ">" : ""}`);
    return [...matching(fields, bare), ...matching(known.metrics.map((name) => `${name}>`), bare)].map((each) => no + each);
  }

  /**
   * @param {string[]} words
   * @param {string} begun
   */
  function matching(words, begun) {
    const small = begun.replace(/^"/, "").toLowerCase();
    const first = words.filter((word) => word.toLowerCase().startsWith(small));
    return [...first, ...words.filter((word) => !first.includes(word) && word.toLowerCase().includes(small))];
  }

  function close() {
    offered = [];
    at = -1;
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  /** @param {boolean} wanted offer also where nothing has been typed yet */
  function offer(wanted = false) {
    const { said } = term();
    if (!said && !wanted) return close();
    offered = completionsOf(said).filter((each) => each !== said).slice(0, MOST);
    at = -1;
    if (!offered.length || document.activeElement !== field) return close();
    list.replaceChildren(
      ...offered.map((words, i) => {
        const item = document.createElement("li");
        item.id = `words-${i}`;
        item.setAttribute("role", "option");
        item.textContent = words;
        item.addEventListener("mousedown", (event) => {
          event.preventDefault();
          take(i);
        });
        return item;
      }),
    );
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    mark();
  }

  function mark() {
    [...list.children].forEach((item, i) => item.setAttribute("aria-selected", String(i === at)));
    if (at >= 0) {
      field.setAttribute("aria-activedescendant", `words-${at}`);
      list.children[at].scrollIntoView({ block: "nearest" });
    } else field.removeAttribute("aria-activedescendant");
  }

  /** @param {number} i */
  function take(i) {
    const { from, said } = term();
    const whole = offered[i];
    const done = !/[:>]$/.test(whole);
    const after = field.value.slice(from + said.length);
    field.value = field.value.slice(0, from) + whole + (done && !after.startsWith(" ") ? " " : "") + after;
    const place = from + whole.length + (done ? 1 : 0);
    field.setSelectionRange(place, place);
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  async function look() {
    if (!asked) {
      asked = true;
      const answer = await fetch("/runs/words");
      if (answer.ok) known = await answer.json();
    }
    offer();
  }

  field.addEventListener("focus", look);
  field.addEventListener("input", look);
  field.addEventListener("click", () => offer());
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (list.hidden) {
      if (event.key === "ArrowDown") offer(true);
      return;
    }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      at = (at + (event.key === "ArrowDown" ? 1 : -1) + offered.length + (at < 0 && event.key === "ArrowUp" ? 1 : 0)) % offered.length;
      mark();
    } else if ((event.key === "Enter" || event.key === "Tab") && at >= 0) take(at);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
}
