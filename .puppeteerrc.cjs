/**
 * The browser comes from the system or from the project's cache (`daguerre doctor`), never from puppeteer's own
 * download.
 */
module.exports = { skipDownload: true };
