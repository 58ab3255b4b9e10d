/* Puts the line of a .pub file that is picked into the field beside it; the file itself goes nowhere.

   <div data-keyfile="ID of the field" hidden data-with-script> <label>… <input type="file"></label> </div>
*/

const MOST = 16 << 10; // bytes; a private key picked by mistake is refused, whatever its size

for (const part of document.querySelectorAll("[data-keyfile]")) {
  const field = document.getElementById(part.dataset.keyfile);
  const picker = part.querySelector("input[type=file]");
  part.hidden = false;
  picker.addEventListener("change", async () => {
    const file = picker.files[0];
    picker.value = "";
    if (!file || file.size > MOST) return;
    const text = (await file.text()).trim();
    if (text.includes("PRIVATE KEY")) return;
    field.value = text;
    field.focus();
  });
}
