"""Stop words and function words: grammatical words that say nothing about the topic of a text.

The English stop words are the classic list of Lucene and most search engines, 33 words; longer lists lose matches
(measured in docs/decisions/0002). The other lists hold the closed word classes of their language to a similar extent:
articles, pronouns, common prepositions and conjunctions, the forms of "be" and of the auxiliary "have". They were
written for this project and compared with the lists of Snowball. Words that are also common nouns or names are left
out. Changing a list changes the terms of documents that are already indexed: they must be indexed again.

Function words are indexed, but a query that has other words is not searched by them: "how do I cancel" looks for
"cancel". No index depends on their list. Only English has one, as the other languages' stop lists hold these words
already. Words that often mean something else are left out (May, mine, us).
"""

from __future__ import annotations

from collections.abc import Mapping

_DANISH = """
af alle at blev blive bliver da de deg dem den denne der deres det dette dig din dine dit du efter eller en er et for
fra ham han hans har havde hende hendes her hos hun hvad hvem hver hvis hvor i ikke ind jeg jer jo kunne man med men
mig min mine mit mod når og også om op os over på sig sin sine sit skal skulle som til ud under var ved vi vil ville
være været
"""
_DUTCH = """
aan al als bij dan dat de der deze die dit door dus een en er had haar hebben heb heeft hem het hij hun ik in is ja je
kan me men met mij mijn naar niet nog nu of om onder ons ook op over te tegen toch toen tot u uit uw van veel voor
want waren was wat we wel wie wij wordt worden werd zal ze zich zij zijn zo zonder zou
"""
_ENGLISH = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
was will with
"""
_ENGLISH_FUNCTION_WORDS = """
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself its
itself them theirs themselves those what which who whom whose when where why how am been being were do does did doing
have has had having can could should would shall might must cannot can't couldn't don't doesn't didn't shouldn't won't
wouldn't isn't aren't wasn't weren't haven't hasn't hadn't i'm i've i'd i'll you're you've you'd you'll he'd he'll she'd
she'll we're we've we'd we'll they're they've they'd they'll
"""
_FINNISH = """
ei eivät emme en et ette hän hänen he heidän ja jo joka jonka jos jota jossa joita jotka kanssa kuin kun me meidän
minun minä mitä mikä mukaan mutta myös ne niiden niin niitä nämä näiden ole olen olet olemme olette oli olivat olla
ollut on ovat se sekä sen sinun sinä sitä siinä siitä tai te teidän tämä tämän tässä tätä vaan vai vain että
"""
_FRENCH = """
ai aient as au aux avait avec avez avons c ce ces cet cette d dans de des du elle elles en est et étaient était être
eu eux il ils j je l la le les leur leurs lui m ma mais me mes moi mon n ne nos notre nous on ont ou où par pas pour
qu que qui s sa sans se ses si son sont sous suis sur t ta te tes toi ton tu un une vos votre vous y
"""
_GERMAN = """
als am an auch auf aus bei beim bin bis bist da das dass daß dein deine dem den denn der des dessen deren dich die
dies diese diesem diesen dieser dieses dir doch du durch ein eine einem einen einer eines er es euch euer für gegen
hat hatte hatten habe haben ich ihm ihn ihnen ihr ihre ihrem ihren ihrer im in ins ist ja je kann kein keine keinem
keinen keiner man mein meine mich mir mit nach nicht noch nun nur ob oder ohne sehr seid sein seine seinem seinen
seiner seit sich sie sind so über um und uns unser unter vom von vor war waren was weil wenn werden wie wir wird wurde
wurden zu zum zur zwischen
"""
_ITALIAN = """
a ad agli ai al alla alle allo anche c che chi ci col con cui d da dagli dai dal dalla dalle dallo degli dei del dell
della delle dello di e è ed era erano essere gli ha hai hanno ho i il in io l la le lei li lo loro lui ma mi mia mio
ne negli nei nel nell nella nelle nello noi non o per più quale quella quelle quelli quello questa queste questi
questo se sei si sia sono sta su sua sue sugli sui sul sulla sulle sullo suo suoi ti tra tu tua tuo un una uno vi voi
"""
_NORWEGIAN = """
alle at av ble bli blir både da de deg dem den denne der deres det dette di din dine du dykk eg ein eit eller en er et
etter for fra han hans har hadde henne hennar hennes her ho hos hun hva hvem hver hvis hvor i ikke ikkje inn jeg kan
kunne kva man med meg men min mine mitt mot når ned nå og også om opp oss over på seg selv si sin sine sitt skal
skulle som til ut under var ved vi vil ville være vært vår
"""
_PORTUGUESE = """
a à ao aos as às com como da das de dela dele deles do dos e é ela elas ele eles em entre era eram essa essas esse
esses esta estas este estes eu foi foram há isso isto já lhe lhes mais mas me meu meus minha minhas na não nas nem no
nos nós o os ou para pela pelas pelo pelos por qual quando que quem são se sem ser seu seus sua suas só também te tem
têm teu tua tu um uma você vocês
"""
_RUSSIAN = """
а бы был была были было быть в вам вас во вот вы да для до его ее её ей если есть еще ещё же за и из или им их к как
ко когда кто ли мне мы на нас не него нее неё ней нет ни них но ну о об он она они оно от по под при с со так также
такой там то того тоже той том тот ту ты у уже чего чем что чтобы это этого этой этом этот эту я
"""
_SPANISH = """
a al algo ante antes como con contra cual cuando de del desde donde durante e el él ella ellas ellos en entre era eran
es esa esas ese eso esos esta está están estas este esto estos fue fueron ha han hasta hay la las le les lo los más me
mi mis mí muy nada ni no nos nosotros o os otra otro para pero por porque que quien se sea ser si sí sin sobre son su
sus suyo también te tiene tu tus tú u un una uno unos y ya yo
"""
_SWEDISH = """
alla att av blev bli blir då de dem den denna deras dess det detta dig din dina ditt du efter ej eller en er ett för
från han hade hans har henne hennes hon honom hur här i icke in inte jag ju kan kunde man med mellan men mig min mina
mitt mot mycket ni nu när någon något några och om oss på samma sedan sig sin sina sitt ska skulle som så till under
upp ut utan vad var vara varit vi vid vilken är åt över
"""

STOP_WORDS: Mapping[str, frozenset[str]] = {
    "da": frozenset(_DANISH.split()),
    "de": frozenset(_GERMAN.casefold().split()),
    "en": frozenset(_ENGLISH.split()),
    "es": frozenset(_SPANISH.split()),
    "fi": frozenset(_FINNISH.split()),
    "fr": frozenset(_FRENCH.split()),
    "it": frozenset(_ITALIAN.split()),
    "nl": frozenset(_DUTCH.split()),
    "no": frozenset(_NORWEGIAN.split()),
    "pt": frozenset(_PORTUGUESE.split()),
    "ru": frozenset(_RUSSIAN.split()),
    "sv": frozenset(_SWEDISH.split()),
}
"""By ISO 639-1 code, in normal form (see words.normalize)."""

FUNCTION_WORDS: Mapping[str, frozenset[str]] = {"en": frozenset(_ENGLISH_FUNCTION_WORDS.split())}
"""As STOP_WORDS, and none of them."""
