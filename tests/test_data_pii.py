import json
import os
from collections import Counter
from pathlib import Path

import pytest

from phidelity.data.pii import find_personal, redact

PROBES = Path(os.environ.get("PHI_TEST_DATA", "nowhere")) / "corpus" / "probes" / "pii.jsonl"


def kinds(text):
    return [span.kind for span in find_personal(text)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Mail ana.b+x@shop.example.co.uk.", "EMAIL"),
        ("Mail <a_b@example.org>, please", "EMAIL"),
        ("ana [at] example [dot] org", "EMAIL"),
        ("Barry <barry at python.org> wrote", "EMAIL"),
        ("联系foo@example.com吧", "EMAIL"),
        ("_ana@example.org_ in italics", "EMAIL"),
        ("ana@example.org[1] and", "EMAIL"),
        ("ana@example.org(office)", "EMAIL"),
        ("{ana, bo}@cs.example.edu", "EMAIL"),
        ("write to ana at example dot org", "EMAIL"),
        ("call +1 (465) 555-0178", "PHONE"),
        ('"ana"@example.org', "EMAIL"),
        ("+1–465–555–0178", "PHONE"),
        ("020 7946 0667", "PHONE"),
        ("01 99 00 12 34", "PHONE"),
        ("03-5550-0178", "PHONE"),
        ("(11) 95550-0178", "PHONE"),
        ("(+44) 20 7946 0667", "PHONE"),
        ("Ph: 03 5550 0178", "PHONE"),
        ("Mob: 5550017899", "PHONE"),
        ("Contact no: 5550017899", "PHONE"),
        ("Mobile 5550017899 for details", "PHONE"),
        ("call (465) 555-0178 now", "PHONE"),
        ("465-555-0178", "PHONE"),
        ("Tel.: 030 23125 851", "PHONE"),
        ("+44 (0)20 7946 0667", "PHONE"),
        ("0049 30 23125851", "PHONE"),
        ("from 23.51.24.228:80", "IPV4_PUBLIC"),
        ("http://8.8.8.8/x", "IPV4_PUBLIC"),
        ("at 2a01:4f8:1a32:1090::2e.", "IPV6_PUBLIC"),
        ("card 4111 1111 1111 1111 is", "CREDIT_CARD"),
        ("card 4111-1111-1111-1111", "CREDIT_CARD"),
        ("4111.1111.1111.1111", "CREDIT_CARD"),
        ("amex 378282246310005", "CREDIT_CARD"),
        ("amex 3782 822463 10005", "CREDIT_CARD"),
        ("DE89 3704 0044 0532 0130 00 OK", "IBAN"),
        ("GB29NWBK60161331926819", "IBAN"),
        ("iban de89 3704 0044 0532 0130 00", "IBAN"),
        ("SSN 078-05-1120.", "US_SSN"),
        ("his social security number is 078 05 1120", "US_SSN"),
        ("AKIALJ7Q4QITJ5UP7JIA", "API_KEY"),
        ("key='ghp_oXaHNm8CjfdMrxwdxTOHtCAtLtGkp6JHTd5b'", "API_KEY"),
        ("DB_PASSWORD=Gr1ndst0ne", "API_KEY"),
        ("MAIL_PASSWORD: 'gr1nd5tone'", "API_KEY"),
        ("pwd: Gr1ndst0ne", "API_KEY"),
        ("gsk_" + "aB3d" * 13, "API_KEY"),
        ("MILL_KEY=0123456789abcdef0123456789abcdef", "API_KEY"),
        ("curl -u mill:gr1nd5tone https://example.org", "API_KEY"),
        ('api_key = "8f4Kd92LmQ0zXv7Bn3Rt6Wy1"', "API_KEY"),
        ("-----BEGIN RSA PRIVATE KEY-----\n" + "Ab3/" * 30 + "\n-----END RSA PRIVATE KEY-----", "API_KEY"),
    ],
)
def test_each_form_is_found_once(text, kind):
    assert kinds(text) == [kind]
    assert f"[{kind}]" in redact(text).text


@pytest.mark.parametrize(
    "text",
    [
        "user@localhost is not routable",
        "git@github.com:user/repo.git",
        "host.example.org:path git@host:repo.git",
        "@dataclass and @property, x@self.weight, A@B.to(device)",
        "icon@2x.png",
        "127.0.0.1, 10.0.0.5, 192.168.1.20, 255.255.255.0, 169.254.1.1, 203.0.113.7",
        "Version 1.2.3.4, release 10.20.30.40, Chrome/91.0.44.12, see 4.1.2.3",
        "1.3.6.1.4.1.311",
        "2001:db8::1, fe80::1, ::1, std::vector, 12:30:45, x[2000::3]",
        "ISBN 978-3-16-148410-0, doi:10.1000/182, RFC 2606",
        "The total came to 1,234,567,890 in 2019-2020.",
        "Order 4111-2222 ships on 12-05-2024 and 2024-05-12 10:30",
        "Call f(x)(y) 555 times. tel 2019-2020",
        "4111111111111112 and 1234567812345678 fail the check digit; 0000000000000000",
        "pi is 3.14159265358979 and 0x4111111111111111",
        "DE89370400440532013001 fails",
        "078-00-1120, 000-12-3456, 666-12-3456, 123-45-67890",
        "secret = get_secret_from_the_environment, token: TokenizerFastImplementation",
        "sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sk-learn-contrib-and-other-names",
        "phone 2023-11-30, mobile 4294967296, mobile 3000000 users, ring 7654321 times, call 5559876543 times",
        "temperature +20 24 28 32 36 40, steps 100 200 300 mm",
        "kernel 6.17.0.81, jdk 17.0.11.9, mod@v2.3.de",
        "y = 4111111111111111 * 3",
        "sk-learn-contrib-something-else-2",
        "bytes 01 99 00 12 34 7f and 7f 01 99 00 12 34, ISBN 0-306-40615-2, f(11) 1234-5678",
        "part 465-555-0178, order no. 465-555-0178",
        "look at the dot com firms",
        "a + 1234567890 and +0.123456789",
    ],
)
def test_what_is_no_persons_is_left_alone(text):
    assert kinds(text) == []
    assert redact(text).text == text


def test_placeholders_are_counted_and_the_rest_stays():
    text = "Ana (ana@example.org, +49 30 23125 851) and bo@example.org"
    redacted = redact(text)
    assert redacted[:2] == ("Ana ([EMAIL], [PHONE]) and [EMAIL]", {"EMAIL": 2, "PHONE": 1})
    for at, span in redacted.placed():
        assert redacted.text[at:].startswith(f"[{span.kind}]")
    assert redacted.text[redacted.moved(text.index("and")) :] == "and [EMAIL]"
    assert redact(redact(text).text).counts == {}
    assert redact("联系foo@example.com吧").text == "联系[EMAIL]吧"


@pytest.mark.skipif(not PROBES.is_file(), reason="PHI_TEST_DATA is not set")
def test_probes_are_found_by_kind_and_no_trap_is_flagged():
    there, found = Counter(), Counter()
    for line in PROBES.read_text(encoding="utf-8").splitlines():
        probe = json.loads(line)
        expected = {tuple(span) for span in probe["spans"]}
        spans = {tuple(span) for span in find_personal(probe["text"])}
        assert spans <= expected, probe["text"]
        there.update(kind for *_, kind in expected)
        found.update(kind for *_, kind in spans)
    assert there.total() == 217
    assert all(found[kind] >= 0.95 * there[kind] for kind in there)
