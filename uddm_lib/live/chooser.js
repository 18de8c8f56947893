// The text that the models get: one of the page's sequences, or the reader's own.

class TextChooser {
  constructor(page) {
    const { data, tokenizer, inner, runs } = page;
    Object.assign(this, { page, picks: data.picks, tokenizer, inner, runs });
    byId("pick").append(...this.pickGroups());
  }

  // What is known of the text: for each model, whether it is a training sequence; null: nothing.
  get members() {
    return this.picked === null ? null : this.picks[this.picked].members;
  }

  // The page opens on a training sequence of one document that begins with a whole word, if there
  // is one.
  get first() {
    const isWhole = (text) => /^[ \p{Lu}]/u.test(text) && !text.includes("\n");
    const suits = ({ tokens, members }) =>
      members.every(Boolean) && isWhole(this.tokenizer.decode(this.innerOf(tokens)));
    return Math.max(0, this.picks.findIndex(suits));
  }

  pickGroups() {
    const groups = new Map();
    this.picks.forEach(({ tokens, members }, index) => {
      const title = this.groupTitle(members);
      if (!groups.has(title)) groups.set(title, element("optgroup", { label: title }));
      const text = this.tokenizer.decode(this.innerOf(tokens)).replaceAll("\n", " ¶ ").trim();
      const short = text.length > 44 ? `${text.slice(0, 44)}…` : text;
      groups.get(title).append(element("option", { value: index, textContent: short }));
    });
    const own = element("option", { value: "own", textContent: "your own text" });
    own.hidden = true; // until something is typed
    return [...groups.values(), own];
  }

  groupTitle(members) {
    if (members.every(Boolean)) return "Training sequences of every model";
    if (!members.some(Boolean)) return "Unseen sequences";
    const trained = this.runs.filter((_, i) => members[i]).map((run) => number(run.n));
    return `Training sequences of n = ${[...new Set(trained)].join(", ")} alone`;
  }

  innerOf(tokens) {
    return this.inner.map((position) => tokens[position]);
  }

  choose(value) {
    if (value !== "own") this.pick(Number(value));
  }

  // A sequence of the list, token by token as it is: its text might be cut in other ways.
  pick(index) {
    this.picked = index;
    const { tokens } = this.picks[index];
    byId("pick").value = index;
    byId("text").value = this.tokenizer.decode(this.innerOf(tokens));
    this.note(`${this.inner.length} tokens.`);
    this.page.use(tokens.slice());
  }

  type() {
    const pick = byId("pick");
    pick.lastElementChild.hidden = false;
    pick.value = "own";
    this.picked = null;
    try {
      const { tokens, note } = this.fit(this.tokenize(byId("text").value));
      this.note(note);
      this.page.use(tokens);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.note(error.message, true);
    }
  }

  // Each line is a document of its own.
  tokenize(text) {
    const { end } = this.tokenizer;
    if (end === null) return this.tokenizer.encode(text.replaceAll("\n", ""));
    const lines = text.split("\n").map((line) => this.tokenizer.encode(line));
    return lines.flatMap((ids, i) => (i ? [end, ...ids] : ids));
  }

  // Exactly as many tokens as the models read.
  fit(ids) {
    const room = this.inner.length, typed = ids.length;
    const unseen = this.picks[this.picks.length - 1].tokens;
    const end = this.tokenizer.end === null ? [] : [this.tokenizer.end];
    const filled = [...ids, ...end, ...this.innerOf(unseen)].slice(0, room);
    const tokens = unseen.slice();
    this.inner.forEach((position, i) => (tokens[position] = filled[i]));
    const rest = typed > room ? `The last ${typed - room} are cut off.`
      : typed < room ? `The page has filled it up to ${room}.` : "";
    return { tokens, note: `Your text has ${typed} tokens. ${rest}` };
  }

  note(text, isError = false) {
    byId("text-note").textContent = text;
    byId("text-note").classList.toggle("error", isError);
    byId("text").setAttribute("aria-invalid", String(isError));
  }
}
