"""Sends two messages by aiosmtplib over STARTTLS and AUTH, over one connection."""
import asyncio
import ssl
import sys
from email.message import EmailMessage

import aiosmtplib

port, authority, user, password, recipient = sys.argv[1:6]


async def main():
    context = ssl.create_default_context(cafile=authority)
    client = aiosmtplib.SMTP(hostname="localhost", port=int(port), start_tls=True, tls_context=context, timeout=60)
    async with client:
        await client.login(user, password)
        for number in range(2):
            message = EmailMessage()
            message["From"] = "shop@legacy.example"
            message["To"] = recipient
            message["Subject"] = f"Reset your password {number}"
            message.set_content("Reset your password, says aiosmtplib.\n")
            errors, _ = await client.send_message(message)
            assert not errors, errors


asyncio.run(main())
