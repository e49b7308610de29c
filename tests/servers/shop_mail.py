"""An SMTP server for tests. It keeps accepted e-mails in a Maildir and treats these recipients specially:

unknown@…  no such mailbox: 550; the answer quotes the address, as real servers do
later@…    greylisted: 451 at the first attempt
full@…     refused after the text: 452 at the first attempt
virus@…    refused after the text: 554
silent@…   accepted, but the connection breaks before the answer
slow@…     accepted, with an answer after 12 s, as a server gives it that looks for viruses first

    python -m aiosmtpd -n -l 127.0.0.1:2525 -c shop_mail.Postmaster /folder/of/mails
"""

import asyncio
import mailbox


class Postmaster:
    def __init__(self, folder):
        self.mails = mailbox.Maildir(folder)
        self.seen = set()

    @classmethod
    def from_cli(cls, parser, *arguments):
        return cls(arguments[0])

    def first(self, address):
        """Whether this recipient is new."""
        new = address not in self.seen
        self.seen.add(address)
        return new

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("unknown"):
            return f"550 5.1.1 <{address}>: there is no such mailbox"
        if address.startswith("later") and self.first(address):
            return "451 4.7.1 please try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server, session, envelope):
        [recipient] = envelope.rcpt_tos
        if recipient.startswith("full") and self.first(recipient):
            return "452 4.2.2 the mailbox is full"
        if recipient.startswith("virus"):
            return "554 5.7.1 this is not wanted here"
        self.mails.add(f"X-Recipient: {recipient}\r\n".encode() + envelope.original_content)
        if recipient.startswith("silent"):
            server.transport.abort()
        if recipient.startswith("slow"):
            await asyncio.sleep(12)
        return "250 2.0.0 taken"
