"""Sends a message made by Python's email package, over implicit TLS and AUTH."""
import smtplib
import ssl
import sys
from email.message import EmailMessage

port, authority, user, password, recipient = sys.argv[1:6]
message = EmailMessage()
message["From"] = "Shop <shop@legacy.example>"
message["To"] = recipient
message["Subject"] = "Réinitialiser votre mot de passe"
message.set_content("Reset your password, says Python.\n")
message.add_alternative("<p>Reset your password, says <b>Python</b>.</p>\n", subtype="html")

context = ssl.create_default_context(cafile=authority)
with smtplib.SMTP_SSL("localhost", int(port), context=context, timeout=60) as smtp:
    smtp.login(user, password)
    refused = smtp.send_message(message)
    assert not refused, refused
