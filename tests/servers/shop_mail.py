"""An SMTP server's mind: it keeps what it accepts in a Maildir, and treats some recipients as their names ask for.

    python -m aiosmtpd -n -l 127.0.0.1:2525 -c shop_mail.Postmaster /folder/of/mails

nobody@…   does not exist: 550, and the answer quotes the address, as answers do
later@…    is greylisted: 451 at first
full@…     is refused once the text is there: 452 at first
virus@…    is refused once the text is there: 554
silent@…   is accepted, and the connection breaks before the answer
"""

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
        if address.startswith("nobody"):
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
        return "250 2.0.0 taken"
