// The feed itself, for one page or, in the shared worker, for all of a browser: frames in order, none twice, a gap is told.
// Where a stream opens and says nothing (a proxy holds it back), it asks every few seconds instead, and says so.
const HELLO_S = 6;
const POLL_S = 3;
const RENEW_S = 40;
const TRY_STREAM_S = 60;
const ANSWER_S = 10; // an answer that takes longer is none
const SILENT_S = 15; // the server beats every 5 s: a stream that is open and silent leads nowhere

// What is answered; null: nothing, or not in time.
const ask = (path, more) => fetch(path, { ...more, signal: AbortSignal.timeout(ANSWER_S * 1000) }).catch(() => null);

export class Source {
  // `tell` gets {kind: rows | beat | reload | state, …}; `after` names the frame that the first page was painted at.
  constructor(tell, after, csrf) {
    this.tell = tell;
    this.csrf = csrf;
    this.renew();
    setInterval(() => this.renew(), RENEW_S * 1000);
    this.id = after;
    this.kept = []; // frames, for pages that come later
    this.open();
    setInterval(() => this.watch(), 5000);
  }

  // What lies between may have forgotten the stream without a word: it is opened anew.
  watch() {
    if (this.polling || performance.now() - this.heard < SILENT_S * 1000) return;
    this.say("reconnecting");
    this.open();
  }

  // As long as any tab is open, what its reader has stays theirs: readers sit in the archive's viewer meanwhile.
  async renew() {
    if (this.csrf) await ask("/api/v1/renew", { method: "POST", headers: { "x-vigie-csrf": this.csrf } });
  }

  open() {
    this.stream?.close();
    clearTimeout(this.timer);
    this.stream = new EventSource(`/api/v1/events?after=${this.id}`);
    this.greeted = false;
    this.heard = performance.now();
    const on = (kind, then) => this.stream.addEventListener(kind, (event) => { [this.greeted, this.heard] = [true, performance.now()]; then(event); });
    on("hello", () => this.say("live"));
    on("beat", (event) => {
      if (this.state !== "live") this.say("live"); // what is heard is there
      this.tell({ kind: "beat", truth: JSON.parse(event.data) });
    });
    on("rows", (event) => this.rows(event.lastEventId, JSON.parse(event.data)));
    on("reload", (event) => { this.say("live"); this.reload(event.lastEventId); });
    on("dropped", () => this.say("reconnecting"));
    this.stream.onerror = () => {
      this.say("reconnecting");
      if (this.stream.readyState === EventSource.CLOSED) this.refused();
    };
    this.timer = setTimeout(() => { if (!this.greeted) this.poll(performance.now() + TRY_STREAM_S * 1000); }, HELLO_S * 1000);
  }

  // A refusal closes the stream for good: logged out, or the service is being restarted.
  async refused() {
    clearTimeout(this.timer);
    const answer = await ask("/api/v1/truth", { cache: "no-store" });
    if (answer && (answer.status === 401 || answer.status === 403)) this.say("login");
    setTimeout(() => this.open(), 3000);
  }

  async poll(until) {
    this.stream.close();
    this.polling = true;
    while (performance.now() < until) {
      const answer = await ask(`/api/v1/changes?after=${this.id}`, { cache: "no-store" });
      if (answer?.ok) {
        const told = await answer.json().catch(() => null);
        if (told) this.polled(told);
      } else this.say(answer?.status === 401 ? "login" : "reconnecting");
      if (!answer) break; // it is not the stream alone that is held back
      await new Promise((done) => setTimeout(done, POLL_S * 1000));
    }
    this.polling = false;
    this.open();
  }

  polled(told) {
    this.say("polling");
    this.tell({ kind: "beat", truth: told.truth });
    if (told.reload) return this.reload(told.id);
    const [epoch, newest] = told.id.split(".");
    told.frames.forEach((frame, at) => this.rows(`${epoch}.${Number(newest) - told.frames.length + 1 + at}`, frame));
  }

  rows(id, frame) {
    const [epoch, number] = id.split(".");
    const [before, last] = this.id.split(".");
    if (epoch === before && Number(number) <= Number(last)) return; // told already
    if (epoch !== before || Number(number) !== Number(last) + 1) return this.reload(id);
    this.id = id;
    this.kept.push({ id, frame });
    if (this.kept.length > 256) this.kept.shift();
    this.tell({ kind: "rows", id, frame });
  }

  reload(id) {
    this.id = id;
    this.kept = [];
    this.tell({ kind: "reload", id });
  }

  say(state) {
    this.state = state;
    this.tell({ kind: "state", state });
  }

  // What a page that was painted at the frame `id` lacks; null: it has to read the list anew.
  since(id) {
    if (id === this.id) return [];
    const [epoch, number] = id.split(".");
    if (epoch !== this.id.split(".")[0]) return null;
    if (Number(number) > Number(this.id.split(".")[1])) return []; // painted at what is still to come
    const at = this.kept.findIndex((one) => one.id === id);
    if (at >= 0) return this.kept.slice(at + 1);
    return this.kept[0]?.id === `${epoch}.${Number(number) + 1}` ? this.kept : null;
  }
}
