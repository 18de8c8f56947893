// Text to tokens and back, as the tokenizer of the runs does it.

// GPT-2's words. \p{White_Space} is what the tokenizers library means by a space; \s is not.
const WORDS = new RegExp(
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+" +
    "|\\p{White_Space}+(?!\\P{White_Space})|\\p{White_Space}+",
  "gu",
);

// Every byte has a printable character in the vocabulary: its own, or one from 256 on.
function byteCharacters() {
  const printable = (byte) =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let further = 256;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCodePoint(printable(byte) ? byte : further++),
  );
}

class Tokenizer {
  // `kind` is "bytes" (byte-level BPE) or "characters" (each character is a token).
  constructor({ kind, tokens, merges, unknown, special, end }) {
    Object.assign(this, { kind, tokens, unknown, end });
    this.ids = new Map(tokens.map((token, id) => [token, id]));
    this.special = new Set(special);
    this.ranks = new Map(merges.map(([left, right], rank) => [`${left} ${right}`, rank]));
    this.characters = byteCharacters();
    this.byteOf = new Map(this.characters.map((character, byte) => [character, byte]));
    this.utf8 = new TextDecoder("utf-8");
  }

  encode(text) {
    if (this.kind === "characters") return Array.from(text, (character) => this.idOf(character));
    return Array.from(text.matchAll(WORDS)).flatMap(([word]) => this.encodeWord(word));
  }

  idOf(character) {
    const id = this.ids.get(character);
    if (id === undefined) throw new RangeError(`“${character}” is no token of these models.`);
    return id;
  }

  encodeWord(word) {
    const bytes = Array.from(new TextEncoder().encode(word), (byte) => this.characters[byte]);
    // Bytes that training never saw stand for themselves: no merge has them.
    let parts = bytes.map((byte) => (this.ids.has(byte) ? byte : null));
    for (let at = this.nextMerge(parts); at >= 0; at = this.nextMerge(parts)) {
      parts = [...parts.slice(0, at), parts[at] + parts[at + 1], ...parts.slice(at + 2)];
    }
    const ids = parts.map((part) => (part === null ? this.unknown : this.ids.get(part)));
    return ids.filter((id) => id !== null);
  }

  // Where the merge that was learned first applies, the leftmost place; -1: nowhere.
  nextMerge(parts) {
    let best = Infinity, place = -1;
    for (let i = 0; i + 1 < parts.length; i++) {
      if (parts[i] === null || parts[i + 1] === null) continue;
      const rank = this.ranks.get(`${parts[i]} ${parts[i + 1]}`);
      if (rank < best) [best, place] = [rank, i];
    }
    return place;
  }

  bytesOfToken(id) {
    return Array.from(this.tokens[id], (character) => this.byteOf.get(character));
  }

  // Text of a sequence. The end of a document becomes a new line.
  decode(ids) {
    if (this.kind === "characters") return Array.from(ids, (id) => this.tokens[id]).join("");
    const newLine = 10;
    const bytes = Array.from(ids).flatMap((id) => {
      if (id === this.end) return [newLine];
      return this.special.has(id) ? [] : this.bytesOfToken(id);
    });
    return this.utf8.decode(new Uint8Array(bytes));
  }

  // One token as it is shown: a paragraph mark is the end of a document.
  show(id) {
    if (id === this.end) return "¶";
    if (this.kind === "characters" || this.special.has(id)) return this.tokens[id];
    const bytes = this.bytesOfToken(id);
    const text = this.utf8.decode(new Uint8Array(bytes));
    if (!text.includes("\ufffd")) return text.replace(/[\n\r]/g, "↵").replace(/\t/g, "→");
    return `‹${bytes.map((byte) => byte.toString(16)).join("")}›`; // a part of a character
  }

  // One token in words, for those who hear the page.
  name(id) {
    if (id === this.end) return "end of a document";
    const text = this.show(id);
    return text === " " ? "space" : `“${text}”`;
  }
}
