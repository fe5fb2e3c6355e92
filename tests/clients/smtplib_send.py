"""Sends a file by smtplib over STARTTLS and AUTH: as str or as bytes, over one connection as often as asked."""
import smtplib
import ssl
import sys

port, authority, user, password, kind, times, recipient, path = sys.argv[1:9]
with open(path, "rb") as file:
    message = file.read()

context = ssl.create_default_context(cafile=authority)
with smtplib.SMTP("localhost", int(port), local_hostname="localhost", timeout=60) as smtp:
    smtp.starttls(context=context)
    smtp.login(user, password)
    for number in range(int(times)):
        unique = message.replace(b"@NUMBER@", str(number).encode())
        if kind == "str":
            smtp.sendmail("shop@legacy.example", [recipient], unique.decode("ascii"))
        elif kind == "bytes":
            smtp.sendmail("shop@legacy.example", [recipient], unique, mail_options=["BODY=8BITMIME"])
        else:
            raise SystemExit("str or bytes")
