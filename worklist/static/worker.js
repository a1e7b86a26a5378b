// One stream for all tabs of a browser: each connection more would be one of the six that a browser allows itself.
import { Source } from "./source.js";

const ports = new Set();
let source = null;
let beat = null;
let beatAt = 0;
let me = null; // who is logged in, as the newest page says

function tell(message) {
  if (message.kind === "beat") [beat, beatAt] = [message, performance.now()];
  for (const port of ports) port.postMessage(message);
}

onconnect = (event) => {
  const port = event.ports[0];
  port.onmessage = ({ data }) => {
    if (data.kind === "bye") { ports.delete(port); return; }
    source ??= new Source(tell, data.after, data.csrf);
    source.csrf = data.csrf; // of the session that is there now
    if (me !== null && me !== data.me) for (const other of ports) other.postMessage({ kind: "other" });
    me = data.me;
    const missed = source.since(data.after);
    if (missed === null) port.postMessage({ kind: "reload", id: source.id });
    else for (const one of missed) port.postMessage({ kind: "rows", ...one });
    if (beat) port.postMessage({ ...beat, age: performance.now() - beatAt }); // last: how old that is, is how old all of it is
    if (source.state) port.postMessage({ kind: "state", state: source.state });
    ports.add(port);
  };
  port.start();
};
