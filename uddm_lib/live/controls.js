// The page itself: it reads the controls, runs the processes, and keeps what is shown up to date.

class Page {
  constructor(data) {
    this.data = data;
    this.tokenizer = new Tokenizer(data.tokenizer);
    this.schedule = new LogLinearSchedule(data.eps);
    this.inner = data.inner;
    this.runs = data.runs.map((run, index) => ({ ...run, index }));
    this.networks = this.runs.map(
      ({ config, tensors, weights }) =>
        new Network(config, tensors, floatsOfHalves(bytesOf(weights))),
    );
    const { length, vocab_size: vocabulary } = this.runs[0].config;
    Object.assign(this, { length, vocabulary, largestEntropy: Math.log(vocabulary) });
    this.searched = { count: data.searched.count, sequences: this.sequences() };
    this.position = this.inner[0];
    // Marks of a sequence where nothing but the ends is known.
    this.fixed = Array.from({ length }, (_, i) => (this.inner.includes(i) ? "" : "fixed"));
  }

  sequences() {
    const bytes = bytesOf(this.data.searched.blocks);
    return this.data.searched.wide ? new Uint16Array(bytes.buffer) : bytes;
  }

  build() {
    this.clean = new SourceCard(this, "Clean text");
    this.noisy = new SourceCard(this, "Corrupted text");
    byId("sources").append(this.clean.node, this.noisy.node);
    this.cards = this.runs.map((run) => new ModelCard(this, run));
    byId("models").append(...this.cards.map((card) => card.node));
    byId("position").max = this.inner.length;
    this.describe();
    this.chooser = new TextChooser(this);
    this.listen();
    this.chooser.pick(this.chooser.first);
  }

  // Sentences that depend on the runs.
  describe() {
    const { count } = this.searched;
    const most = Math.max(...this.runs.map((run) => run.n));
    const part = (n) => (n <= count ? "all" : `a sample of ${number(count)} of`);
    const sizes = [...new Set(this.runs.map(({ n }) => `${part(n)} ${number(n)}`))];
    byId("about-search").textContent =
      `The page searches ${sizes.join(" and ")} training sequences` +
      (most > count ? ": the others do not fit into it." : ".");
    byId("scale-end").textContent = `unsure: ${this.largestEntropy.toFixed(1)} nats`;
    byId("about-entropy").textContent = this.largestEntropy.toFixed(2);
    byId("about-tokens").textContent =
      `These models know ${number(this.vocabulary)} tokens. A sequence has ${this.length}. ` +
      (this.tokenizer.kind === "bytes"
        ? "Among them are the beginning of a sequence, <s>, bytes that the training text lacks, " +
          "<unk>, and parts of characters, such as ‹c3›."
        : "");
    const ends = this.length - this.inner.length;
    byId("about-ends").textContent = ends
      ? "The tokens at both ends mark the beginning and the end. They are never replaced, do not " +
        "count, and are not shown."
      : "";
  }

  listen() {
    const on = (id, event, action) => byId(id).addEventListener(event, action.bind(this));
    on("pick", "change", () => this.chooser.choose(byId("pick").value));
    on("text", "input", () => this.later(() => this.chooser.type()));
    on("noise", "input", () => this.later(this.reset, 60));
    for (const id of ["steps", "seed"]) on(id, "change", this.reset);
    on("play", "click", () => (this.timer ? this.pause() : this.play()));
    on("step", "click", this.stepOnce);
    on("replay", "click", () => (this.reset(), this.play()));
    on("new-seed", "click", this.newSeed);
    on("position", "input", () => this.look(this.inner[byId("position").value - 1]));
    on("controls", "submit", (event) => event.preventDefault());
    for (const radio of document.getElementsByName("mode")) {
      radio.addEventListener("change", () => this.reset());
    }
    document.querySelector("main").addEventListener("click", ({ target }) => {
      if (!target.closest?.(".tokens:not(.nearest)") || !target.dataset.position) return;
      const position = Number(target.dataset.position);
      if (this.inner.includes(position)) this.look(position);
    });
  }

  // Once the reader rests: each key and each move of the slider would start anew.
  later(action, delay = 350) {
    clearTimeout(this.waiting);
    this.showNoise();
    this.waiting = setTimeout(() => action.call(this), delay);
  }

  get isGeneration() {
    return document.querySelector("input[name=mode]:checked").value === "generate";
  }

  use(tokens) {
    this.tokens = tokens;
    this.reset();
  }

  showNoise() {
    byId("noise-value").textContent = Number(byId("noise").value).toFixed(2);
  }

  get seed() {
    const seed = Number(byId("seed").value);
    return Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32 ? seed : 1;
  }

  // Corrupt the text and put every model at the start. The same controls give the same start.
  reset() {
    this.stop();
    const { isGeneration, inner, schedule, seed } = this;
    byId("seed").value = seed;
    const startTime = isGeneration ? 1 : Number(byId("noise").value);
    const amount = isGeneration ? 1 : schedule.oneMinusAlpha(startTime);
    this.start = corrupt(this.tokens, inner, amount, this.vocabulary, seed);
    const options = {
      schedule, startTime, steps: Number(byId("steps").value), greedyEnd: isGeneration,
      seed: seed ^ 0x5bd1e995, // other draws than those of the corruption
    };
    this.processes = this.networks.map(
      (network) => new ReverseProcess(network, this.start, inner, options),
    );
    this.showNoise();
    this.showSources();
    this.show();
    this.rest("Ready.");
  }

  showSources() {
    const { isGeneration, tokens, start, inner } = this;
    const members = isGeneration ? null : this.chooser.members;
    this.cards.forEach((card, i) => {
      const known = members?.[i] ? "The clean text is one of the sequences." :
        "The clean text is none of the sequences.";
      card.member.textContent = members ? known : "";
    });
    byId("text-fields").hidden = byId("noise-field").hidden = isGeneration;
    this.clean.node.hidden = byId("marks").hidden = isGeneration;
    this.clean.strip.show(tokens, marksOf(tokens, tokens, tokens, inner));
    this.clean.strip.tell(tokens);
    this.clean.line.textContent = `${inner.length} tokens that count.`;
    const { corrupted } = countRecovery(tokens, start, start, inner);
    this.noisy.heading.textContent = isGeneration ? "Noise" : "Corrupted text";
    this.noisy.line.textContent = isGeneration
      ? "Every token is drawn from all tokens alike."
      : `${share(corrupted, inner.length)} tokens are replaced by others.`;
    this.noisy.strip.show(start, isGeneration ? this.fixed : marksOf(tokens, start, start, inner));
    this.noisy.strip.tell(start);
  }

  show() {
    const clean = this.isGeneration ? null : this.tokens;
    this.cards.forEach((card, i) => card.show(this.processes[i], clean, this.start));
    const [{ done, length, time }] = this.processes;
    byId("progress").max = length;
    byId("progress").value = done;
    byId("progress-label").textContent = `Step ${done} of ${length}, t = ${time.toFixed(3)}`;
    this.look(this.position);
  }

  look(position) {
    this.position = position;
    const at = this.inner.indexOf(position) + 1;
    byId("position").value = at;
    byId("position-value").textContent = `${at} of ${this.inner.length}`;
    byId("position").setAttribute("aria-valuetext", this.positionInWords(at, position));
    const strips = [this.clean, this.noisy, ...this.cards].map((card) => card.strip);
    for (const strip of strips) strip.select(position);
    const tables = this.runs.map((run, i) =>
      predictionTable(this, run, this.processes[i].predictions[position]),
    );
    byId("look").replaceChildren(...tables);
  }

  positionInWords(at, position) {
    const name = (tokens) => this.tokenizer.name(tokens[position]);
    const clean = this.isGeneration ? "" : `, clean ${name(this.tokens)}`;
    const now = this.runs.map((run, i) => `n = ${run.n} has ${name(this.processes[i].tokens)}`);
    return `${at}${clean}, start ${name(this.start)}, ${now.join(", ")}`;
  }

  get isOver() {
    return this.processes[0].isOver;
  }

  advance() {
    for (const process of this.processes) process.step();
  }

  stepOnce() {
    this.stop();
    if (this.isOver) return;
    this.advance();
    this.show();
    this.rest(this.isOver ? "Done." : "Stepped.");
  }

  play() {
    if (this.isOver) this.reset();
    // Who asks for less motion sees the end at once; the button Step shows the way.
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return this.finish();
    byId("play").textContent = "Pause";
    byId("status").textContent = "Playing.";
    const tick = () => {
      this.advance();
      this.show();
      if (this.isOver) return this.pause();
      this.timer = setTimeout(tick, Number(byId("speed").value));
    };
    this.timer = setTimeout(tick, 0);
  }

  finish() {
    while (!this.isOver) this.advance();
    this.show();
    this.rest("Done.");
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    byId("play").textContent = "Play";
  }

  pause() {
    this.stop();
    this.rest(this.isOver ? "Done." : "Paused.");
  }

  // A screen reader hears how far the process is where it rests. While it runs that would be noise.
  rest(word) {
    const [{ done, length }] = this.processes;
    const summaries = this.cards.map((card) => card.summary).join("");
    byId("status").textContent = `${word} Step ${done} of ${length}.${summaries}`;
    this.cards.forEach((card, i) => card.tell(this.processes[i]));
  }

  newSeed() {
    byId("seed").value = (this.seed + 1) % 2 ** 32;
    this.reset();
  }
}

const page = new Page(JSON.parse(byId("page-data").textContent));
page.build();
