// Render letters with Carbone, as many at once as it has factories, and say "made" after each.
//
//   node carbone.js TEMPLATE DATA FOLDER FACTORIES        DATA: one letter's fields a line, as JSON
const fs = require('fs');
const path = require('path');
const carbone = require('carbone');

const [template, data, folder, factories] = process.argv.slice(2);
const letters = fs.readFileSync(data, 'utf8').trim().split('\n');
const options = {
  convertTo: {
    formatName: 'pdf',
    formatOptions: {
      PDFUACompliance: true,
      UseTaggedPDF: true,
      SelectPdfVersion: 2,
      ExportBookmarks: true,
      ReduceImageResolution: false,
      UseLosslessCompression: true
    }
  }
};
let next = 0;
let made = 0;

function render () {
  if (next >= letters.length) {
    return;
  }
  const number = next++;
  carbone.render(template, JSON.parse(letters[number]), options, (error, pdf) => {
    if (error) {
      console.error(error);
      process.exit(1);
    }
    fs.writeFile(path.join(folder, `${number}.pdf`), pdf, (fault) => {
      if (fault) {
        console.error(fault);
        process.exit(1);
      }
      fs.writeSync(1, 'made\n');
      made++;
      if (made === letters.length) {
        process.exit(0);
      }
      render();
    });
  });
}

carbone.set({ factories: Number(factories), startFactory: true, tempPath: folder });
// Two for each factory, so that the next is rendered while one is converted.
for (let one = 0; one < 2 * Number(factories); one++) {
  render();
}
