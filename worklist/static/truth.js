// A page of those who see no rows: it asks how far the list can be believed.
import * as live from "./live.js";

live.ask();
