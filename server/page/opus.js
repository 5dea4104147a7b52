// Opus in Ogg both ways, with the browser's own codec (WebCodecs).

import { FIRST, PacketReader, PageWriter } from "./ogg.js";

const RATE = 24000;
const GRANULES = 48000; // RFC 7845: positions count at this rate whatever the audio's
const SERIAL = 42;
const PRE_SKIP = 312; // what libopus looks ahead, 6.5 ms
const PACKET = 20000; // microseconds, if the browser does not say
const CONFIG = { codec: "opus", sampleRate: RATE, numberOfChannels: 1 };

// Whether this browser can encode and decode Opus.
export async function opusIsSupported() {
  if (!globalThis.AudioEncoder || !globalThis.AudioDecoder) return false;
  const codecs = [AudioEncoder, AudioDecoder];
  const answers = await Promise.all(codecs.map((codec) => codec.isConfigSupported(CONFIG)));
  return answers.every((answer) => answer.supported);
}

function identification() {
  const packet = new Uint8Array(19);
  const view = new DataView(packet.buffer);
  packet.set(new TextEncoder().encode("OpusHead"));
  packet[8] = 1; // version
  packet[9] = 1; // channels
  view.setUint16(10, PRE_SKIP, true);
  view.setUint32(12, RATE, true);
  return packet;
}

function comments() {
  const vendor = new TextEncoder().encode("kyutai-onnx");
  const packet = new Uint8Array(8 + 4 + vendor.length + 4);
  packet.set(new TextEncoder().encode("OpusTags"));
  new DataView(packet.buffer).setUint32(8, vendor.length, true);
  packet.set(vendor, 12);
  return packet;
}

// Samples at 24 kHz in, pages out.
export class OpusWriter {
  #pages = new PageWriter(SERIAL);
  #samples = 0;
  #granule = PRE_SKIP;
  #encoder;

  // `send` gets the bytes of pages, `failed` the browser's error.
  constructor(send, failed) {
    this.#encoder = new AudioEncoder({
      output: (chunk) => {
        const packet = new Uint8Array(chunk.byteLength);
        chunk.copyTo(packet);
        this.#granule += Math.round(((chunk.duration ?? PACKET) / 1e6) * GRANULES);
        send(this.#pages.page(packet, this.#granule));
      },
      error: failed,
    });
    this.#encoder.configure({ ...CONFIG, bitrate: 48000 });
    send(this.#pages.page(identification(), 0, FIRST));
    send(this.#pages.page(comments(), 0));
  }

  write(pcm) {
    const data = new AudioData({
      format: "f32",
      sampleRate: RATE,
      numberOfChannels: 1,
      numberOfFrames: pcm.length,
      timestamp: Math.round((this.#samples / RATE) * 1e6),
      data: pcm,
    });
    this.#samples += pcm.length;
    this.#encoder.encode(data);
    data.close();
  }

  close() {
    if (this.#encoder.state !== "closed") this.#encoder.close();
  }
}

// Pages in, samples out.
export class OpusReader {
  #packets = new PacketReader();
  #headers = 2;
  #decoder;
  #timestamp = 0;

  // `decoded` gets samples float32 and their rate, `failed` the browser's error.
  constructor(decoded, failed) {
    this.#decoder = new AudioDecoder({
      output: (data) => {
        const pcm = new Float32Array(data.numberOfFrames);
        data.copyTo(pcm, { planeIndex: 0, format: "f32-planar" });
        decoded(pcm, data.sampleRate);
        data.close();
      },
      error: failed,
    });
    this.#decoder.configure(CONFIG);
  }

  // Throws RangeError for what is not Ogg.
  feed(bytes) {
    for (const packet of this.#packets.feed(bytes)) {
      if (this.#headers > 0) this.#headers -= 1;
      else this.#decode(packet);
    }
  }

  #decode(data) {
    const timestamp = this.#timestamp++;
    this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data }));
  }

  close() {
    if (this.#decoder.state !== "closed") this.#decoder.close();
  }
}
