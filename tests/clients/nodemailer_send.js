// Sends two messages by nodemailer over STARTTLS and AUTH, over a pooled connection.
const fs = require("fs");
const nodemailer = require("nodemailer");

const [port, authority, user, pass, recipient] = process.argv.slice(2);

async function main() {
  const transport = nodemailer.createTransport({
    host: "localhost",
    port: Number(port),
    secure: false,
    requireTLS: true,
    pool: true,
    maxConnections: 1,
    auth: { user, pass },
    tls: { ca: fs.readFileSync(authority) },
  });
  for (let number = 0; number < 2; number += 1) {
    const info = await transport.sendMail({
      from: "Shop <shop@legacy.example>",
      to: recipient,
      subject: `Reset your password ${number}`,
      text: "Reset your password, says nodemailer.\n",
    });
    if (!info.response.startsWith("250")) {
      throw new Error(info.response);
    }
  }
  transport.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
