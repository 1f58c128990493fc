// Unpacks the Chromium of the npm package below $TMPDIR and prints its path.
import chromium from "@sparticuz/chromium";
console.log(await chromium.executablePath());
