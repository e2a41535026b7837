"""Phrases by which pages give themselves away: notices on cookies, gates and errors, imprints, advertising.

C4's own for policies (arXiv 1910.10683); all others are ours. English, German, French, Spanish, and less of others.
"""

import re

POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
"""C4's phrases (arXiv 1910.10683, its code)."""
CONSENT = (
    *("accept all", "reject all", "accept cookies", "cookie settings", "cookie preferences", "manage preferences"),
    *("manage your choices", "your choices", "strictly necessary", "necessary cookies", "analytics cookies"),
    *("marketing cookies", "advertising cookies", "third-party cookies", "functional cookies", "our partners"),
    *("cookie-einstellungen", "cookies akzeptieren", "alle akzeptieren", "alle ablehnen", "verwendet cookies"),
    *("datenschutzerklärung", "tout accepter", "tout refuser", "utilise des cookies", "politique de confidentialité"),
    *("aceptar todo", "rechazar todo", "utiliza cookies", "política de privacidad", "política de cookies"),
    *("value your privacy", "information on a device", "withdraw your consent", "manage options", "personalised ads"),
    *("personalized ads", "legitimate interest", "ihre privatsphäre", "votre vie privée", "su privacidad"),
    *("accetta tutti", "utilizza i cookie", "файлы cookie", "использует cookie", "политик", "принять все"),
)
"""Phrases of a page that asks for consent to cookies (ours)."""
WEAK_SALES = ("discount", "cheap", "bonus", "!!!", "% off", "rabatt", "скидк")
"""Words that advertise only beside one of the phrases (ours)."""
SALES = (
    *("click here", "limited offer", "order now", "order today", "buy now", "call now", "act now", "free shipping"),
    *("fast shipping", "shipping worldwide", "no prescription", "best price", "lowest price", "money back"),
    *("special offer", "save big", "save up to", "satisfaction guaranteed", "risk free", "no risk", "best prices"),
    *("without a prescription", "online pharmacy", "viagra", "cialis", "discreet pack", "fast delivery", "in stock!"),
    *("while stocks last", "order your", "online casino", "free spins", "jackpot", "sign up today", "register now"),
    *("deposit now", "claim your", "free bonus", "welcome bonus", "instant payout", "guaranteed delivery"),
    *("jetzt bestellen", "jetzt kaufen", "kaufen sie jetzt", "kostenloser versand", "versandkostenfrei"),
    *("besten preis", "sonderangebot", "klicken sie hier", "geld-zurück", "nur heute", "greifen sie"),
    *("achetez maintenant", "livraison gratuite", "meilleur prix", "offre spéciale", "cliquez ici", "sans ordonnance"),
    *("compra ahora", "envío gratis", "mejor precio", "oferta especial", "haz clic aquí", "sin receta"),
    *("acquista ora", "spedizione gratuita", "frete grátis", "compre agora", "купить сейчас", "бесплатная доставка"),
    *("лучшая цена", "без рецепта", "онлайн казино", "закажите сейчас"),
)
"""Phrases of advertising (ours)."""

NOTICE = re.compile(
    r"enable javascript|javascript (?:is |has been |must be )?(?:disabled|required|not enabled|turned off|switched off)"
    r"|(?:requires?|needs?|without) javascript|javascript (?:zu )?aktivieren|aktivieren sie javascript"
    r"|activ(?:ez|er) javascript|(?:habilit|activ)[ae]r? javascript|включите javascript"
    r"|\b(?:page|link|url|address)\b.{0,50}(?:(?:not|n't) (?:be )?found|(?:does not|doesn't|no longer) exist"
    r"|no longer available)|404 (?:error|not found)|seite.{0,40}nicht gefunden|page.{0,40}introuvable"
    r"|página.{0,40}no (?:se )?(?:ha sido )?encontrad|pagina.{0,40}non (?:è stata )?trovata|страница.{0,40}не найдена"
    r"|(?:must|need to|have to) be (?:logged|signed) in|please (?:log|sign) in|forgot(?:ten)? your password"
    r"|enter your (?:username|password)|angaben gemäß §|keine gewähr übernehmen|registergericht|mentions légales"
    r"|verify (?:that )?you are (?:a )?human|access (?:to this page )?(?:has been )?denied"
)
"""What a page says in place of its text: that it needs JavaScript or a login, or is not there; and an imprint."""
ADDRESSES = re.compile(
    r"\b(?:we|us|our|you|your|wir|uns|unsere\w*|sie|ihre\w*|nous|nos|notre|vous|vos|votre|nuestr\w+|su|sus|usted|tu|tus"
    r"|noi|nostr\w+|tuo|voi|мы|наш\w*|вы|ваш\w*|this (?:site|website|page))\b"
)
"""Words with which a notice speaks to its reader, as an article on cookies does not."""
