// Limits in milliseconds that guard against hanging, and nothing else: five times or more what an idle machine of two
// cores needs. tests/support/refvid_patience.py has Python's, of which FRONTEND, for a whole script, is longer.

/** A step of the browser (start, load a page, click, take a picture), or a run of a graph: 10 s on an idle machine. */
export const PATIENCE = 300000;

/** Until a dialog that opens by itself has done so, in 1 s on an idle machine; then it is opened by its command. */
export const BY_ITSELF = 20000;
