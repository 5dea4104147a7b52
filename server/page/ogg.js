// Ogg pages (RFC 3533): packets in, pages out, and back.

const MARK = [0x4f, 0x67, 0x67, 0x53]; // "OggS"
const HEAD = 27;
const LARGEST_PACKET = 2 ** 16;

export const CONTINUED = 1;
export const FIRST = 2;
export const LAST = 4;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte << 24;
  for (let bit = 0; bit < 8; bit++) rest = (rest << 1) ^ (rest < 0 ? 0x04c11db7 : 0);
  return rest;
});

function checksum(page) {
  let sum = 0;
  for (const byte of page) sum = (sum << 8) ^ TABLE[(sum >>> 24) ^ byte];
  return sum >>> 0;
}

// Writes one logical stream, a packet to a page.
export class PageWriter {
  #serial;
  #number = 0;

  constructor(serial) {
    this.#serial = serial;
  }

  // The page of one packet; `granule` is the position at its end.
  page(packet, granule, flags = 0) {
    const whole = Math.floor(packet.length / 255);
    if (whole > 254) throw new RangeError("a packet must fit into one page");
    const page = new Uint8Array(HEAD + whole + 1 + packet.length);
    const view = new DataView(page.buffer);
    page.set(MARK);
    page[5] = flags;
    view.setBigInt64(6, BigInt(granule), true);
    view.setUint32(14, this.#serial, true);
    view.setUint32(18, this.#number++, true);
    page[26] = whole + 1;
    page.fill(255, HEAD, HEAD + whole);
    page[HEAD + whole] = packet.length % 255;
    page.set(packet, HEAD + whole + 1);
    view.setUint32(22, checksum(page), true);
    return page;
  }
}

// Reads the packets of one logical stream from bytes that are cut anywhere.
export class PacketReader {
  #rest = new Uint8Array(0);
  #part = [];

  // The packets that are whole now; throws RangeError for what is not Ogg.
  feed(bytes) {
    this.#rest = joined([this.#rest, bytes]);
    const packets = [];
    for (let length = this.#pageLength(); length; length = this.#pageLength()) {
      this.#read(this.#rest.slice(0, length), packets);
      this.#rest = this.#rest.subarray(length);
    }
    return packets;
  }

  #pageLength() {
    const rest = this.#rest;
    const ours = MARK.every((byte, i) => i >= rest.length || rest[i] === byte);
    if (!ours) throw new RangeError("not a page of Ogg");
    if (rest.length < HEAD || rest.length < HEAD + rest[26]) return 0;
    const table = rest.subarray(HEAD, HEAD + rest[26]);
    const length = HEAD + table.length + table.reduce((sum, lace) => sum + lace, 0);
    return rest.length < length ? 0 : length;
  }

  #read(page, packets) {
    const view = new DataView(page.buffer);
    const said = view.getUint32(22, true);
    view.setUint32(22, 0);
    if (checksum(page) !== said) throw new RangeError("a page of Ogg is damaged");
    if (!(page[5] & CONTINUED)) this.#part = [];
    let at = HEAD + page[26];
    for (const lace of page.subarray(HEAD, HEAD + page[26])) {
      this.#part.push(page.subarray(at, at + lace));
      at += lace;
      if (255 * this.#part.length > LARGEST_PACKET) throw new RangeError("a packet has no end");
      if (lace < 255) packets.push(joined(this.#part.splice(0)));
    }
  }
}

function joined(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
