"""Addresses that are a person's or group's account, and so must not be exchanged as a `url`.

Why: the digest of an account's address is as easy to reverse as that of a phone number: anyone can hash every
known handle. Such addresses go through the pseudonym type instead, whose values only the service can make.

How: `SITES` is data. An address belongs to a site by its host (with the usual ``www.``, ``m.`` or country
sub-domains) and is an account's address if the path, with percent escapes undone and empty segments left out,
is an account pattern of that site and its first segment is not one of the site's own pages. Only the account's
page and its tabs count: a post, a video or a repository is content, even where its address names the account.
`ANYWHERE` holds for every host, because Mastodon and its kin run on any.

What must stay true: the check errs towards refusing a bare first segment on a social site, and towards allowing
everything deeper. No message repeats the address. The table is tested row by row, positives and negatives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote

from ada_url import URL

from exchange.errors import Reason, Rejected
from exchange.normal.url import canonical_url

HINT = "an account's address is never exchanged as a url: publish a `profile_url` pseudonym of it"


@dataclass(frozen=True, slots=True)
class Site:
    r"""One row: the account addresses of a site.

    ``hosts``: its registered names, parted by spaces; a common sub-domain before them is allowed, and those in
    ``subdomains``. ``accounts``: patterns of the whole path, without leading and closing slash; one with ``\?``
    is matched with each query parameter in turn, for others the query does not count. ``NAME`` stands for a
    segment that is not one of the site's own pages, which are listed in ``reserved``. ``by_subdomain``: the row
    is for ``name.<host>``, where the sub-domain is the account, unless it is in ``subdomains``.
    """

    name: str
    hosts: str
    accounts: tuple[str, ...]
    reserved: str = ""
    subdomains: str = ""
    by_subdomain: bool = False


_COMMON_SUBDOMAINS = frozenset(("www", "m", "mobile", "touch", "web", "old", "new", "beta"))
_COUNTRY = re.compile(r"[a-z]{2}(-[a-z]{2})?")
_COMMON_RESERVED = (
    "about account accounts ads api app apps blog business careers contact cookies developer developers discover "
    "download explore faq favicon.ico feed help home index.html index.php jobs join legal login logout manifest.json "
    "messages notifications press privacy register robots.txt rules safety search security settings share signin "
    "signup sitemap.xml support tags terms tos trending upload"
)
_HANDLE = (
    "@[^/?]+(/(with_replies|media|followers|following|featured|about|videos|shorts|streams|live|playlists|community"
    "|posts|podcasts|replies|reposts|liked|tagged/[^/?]+))?"
)

ANYWHERE = Site("a fediverse server, or on a site with addresses like theirs", "", (f"(web/)?{_HANDLE}",))

SITES = (
    Site(
        "Facebook",
        "facebook.com fb.com messenger.com",
        (
            (
                "NAME(/(about|about_[^/?]+|photos|photos_[^/?]+|videos|friends|friends_[^/?]+|likes|reels|reels_tab"
                "|followers|following|mentions|reviews|community|live|map|sports|music|books))?"
            ),
            r"profile\.php\?id=[0-9]+",
            "people/[^/?]+/[^/?]+",
            "pages/[^/?]+/[0-9]+",
            "pg/[^/?]+",
            "(messages/)?t/[^/?]+",
        ),
        "ad ads_manager ajax bookmarks campaign checkpoint connect content_report dialog directory donate events fbml "
        "find-friends friends fundraisers games gaming groups hashtag l.php lite login.php marketplace memories "
        "mobile notes offers pages pagelet people pg permalink.php photo photo.php photos places plugins policies "
        "policy policy.php posts profile.php public questions reel reels saved sharer sharer.php stories story.php t "
        "tr video video.php videos watch weather",
        "mbasic free",
    ),
    Site("Facebook", "m.me", ("NAME",)),
    Site(
        "Instagram",
        "instagram.com instagr.am",
        (
            "NAME(/(reels|tagged|followers|following|channel|feed|guides|saved|igtv|live))?",
            "_u/[^/?]+",
            "stories/(?!highlights)[^/?]+",
        ),
        "_u challenge class create direct emails graphql igtv invites lite nametag oauth p push reel reels session "
        "stories tv web",
    ),
    Site("Instagram", "ig.me", ("m/[^/?]+",)),
    Site("Threads", "threads.net threads.com", (_HANDLE,)),
    Site(
        "X",
        "x.com twitter.com",
        (
            (
                "@?NAME(/(with_replies|media|likes|followers|following|verified_followers|highlights|articles|lists"
                "|topics|superfollows|affiliates))?"
            ),
            "i/user/[0-9]+",
            r"intent/(user|follow)\?(screen_name|user_id)=.+",
        ),
        "bookmarks communities compose content hashtag i i.js intent lists moments oauth personalization "
        "search-advanced search-home statuses tweet widgets who_to_follow",
    ),
    Site(
        "YouTube",
        "youtube.com youtube-nocookie.com",
        (
            _HANDLE,
            "(channel|c|user)/[^/?]+(/(featured|videos|shorts|streams|playlists|community|channels|about|live|posts))?",
        ),
        subdomains="music gaming",
    ),
    Site("TikTok", "tiktok.com", (_HANDLE,)),
    Site(
        "LinkedIn",
        "linkedin.com",
        (
            "in/[^/?]+(/(details|overlay|recent-activity)(/[^/?]+){0,2}|/[a-z]{2})?",
            "pub/[^/?]+(/[^/?]+){0,3}",
            r"profile/view\?id=.+",
        ),
    ),
    Site(
        "Bluesky",
        "bsky.app",
        ("profile/[^/?]+(/(follows|followers|known-followers|search))?",),
        subdomains="main staging",
    ),
    Site("Bluesky", "bsky.social", ("",), by_subdomain=True),
    Site(
        "Reddit",
        "reddit.com",
        (
            (
                "(user|u)/(?!me(/|$))[^/?]+(/(overview|submitted|posts|comments|about|saved|gilded|upvoted|downvoted"
                r"|hidden|about\.json))?"
            ),
        ),
        subdomains="np i sh amp ssl",
    ),
    Site(
        "Telegram",
        "t.me telegram.me telegram.dog",
        (r"(?!\+)NAME", "s/[^/?]+", r"\+[0-9]{6,15}"),
        "addemoji addlist addstickers addtheme auction bg boost c call confirmphone giftcode invoice iv joinchat k m "
        "newbot nft proxy s setlanguage socks",
    ),
    Site("Telegram", "t.me", ("",), by_subdomain=True),
    Site("Snapchat", "snapchat.com", (_HANDLE, "(add|p)/[^/?]+"), subdomains="story"),
    Site(
        "Twitch",
        "twitch.tv",
        (
            "NAME(/(about|schedule|videos|clips|followers|following|home|chat|squad))?",
            "(popout|moderator|u)/[^/?]+(/(chat|[a-z-]+))?",
        ),
        "bits broadcast collections creatorcamp directory downloads drops event friends inventory moderator p popout "
        "prime products redeem store subs subscriptions team turbo u user videos wallet",
    ),
    Site("WhatsApp", "wa.me", (r"\+?[0-9]{5,16}", "(message|qr|c)/[^/?]+")),
    Site("WhatsApp", "whatsapp.com", (r"send\?phone=.+",), subdomains="api"),
    Site("Discord", "discord.com discordapp.com", ("users/[0-9]+",), subdomains="ptb canary"),
    Site(
        "VK",
        "vk.com vk.ru vkontakte.ru",
        (
            (
                "(?!(wall|photo|video|topic|album|doc|clip|club|public|event|app|audio|audio_playlist|story|market|product"
                "|poll|note|page)s?-?[0-9])NAME"
            ),
            r"friends\?id=[0-9]+",
        ),
        "add_community.php al_feed.php away away.php badbrowser.php bugs clips dev docs fave friends games gifts "
        "groups im login.php mail market music news photos places poll stickers services stories video videos wall "
        "write",
    ),
    Site("Odnoklassniki", "ok.ru odnoklassniki.ru", ("profile/[0-9]+(/(about|friends|photos|groups|statuses))?",)),
    Site("Truth Social", "truthsocial.com", (_HANDLE, "users/[^/?]+")),
    Site(
        "Gab",
        "gab.com",
        ("NAME(/(about|followers|following|comments|photos|videos|favorites|likes|media|lists))?",),
        "auth chats compose group groups hashtag links list lists marketplace media news posts pro shop statuses tag "
        "timeline timelines tv",
    ),
    Site("Rumble", "rumble.com", ("(user|c)/[^/?]+(/(about|videos|livestreams|shorts|playlists|reposts))?",)),
    Site("BitChute", "bitchute.com", ("(channel|profile)/[^/?]+",)),
    Site(
        "Kick",
        "kick.com",
        ("NAME(/(about|videos|clips|chatroom))?", "popout/[^/?]+(/chat)?"),
        "browse categories category clips community-guidelines dmca following popout transactions video videos",
    ),
    Site(
        "GitHub",
        "github.com",
        ("NAME", "(sponsors|users)/[^/?]+"),
        "advisories collections contact-sales codespaces customer-stories dashboard edu education enterprise events "
        "features gist gists github-copilot issues marketplace mobile models nonprofit opensearch.xml organizations "
        "orgs password_reset payments premium-support pricing pulls readme resources security-advisories session "
        "sessions showcases site skills solutions sponsors stars team topics users watching why-github",
    ),
    Site("GitHub", "gist.github.com", ("NAME",), "auth forked mine starred"),
    Site(
        "Pinterest",
        "pinterest.com pinterest.at pinterest.ca pinterest.ch pinterest.cl pinterest.co.kr pinterest.co.uk "
        "pinterest.com.au pinterest.com.mx pinterest.de pinterest.dk pinterest.es pinterest.fr pinterest.ie "
        "pinterest.it pinterest.jp pinterest.nz pinterest.ph pinterest.pt pinterest.se",
        ("NAME(/(_saved|_created|_profile|pins|boards|followers|following|_shop))?",),
        "_ _tools boards categories category convert create gifts ideas news_hub oauth offsite pin pin-builder "
        "pin-creation-tool resource shopping today topics videos watch",
    ),
    Site(
        "Tumblr",
        "tumblr.com",
        ("NAME", "blog/(?!view$)[^/?]+", "blog/view/[^/?]+", "dashboard/blog/[^/?]+"),
        "archive ask changes communities community customize dashboard docs domains following inbox likes live new "
        "policy radar reblog spotlight submit tagged text themes",
    ),
    Site(
        "Tumblr",
        "tumblr.com",
        ("(archive|likes|ask|submit|following|about)?",),
        subdomains="assets static api media embed engineering help policy staff support",
        by_subdomain=True,
    ),
    Site("Medium", "medium.com", (_HANDLE,)),
    Site(
        "Medium",
        "medium.com",
        ("(archive|about|followers|following)?",),
        subdomains="api blog help miro policy",
        by_subdomain=True,
    ),
    Site("Flickr", "flickr.com", ("people/[^/?]+", "photos/(?!tags(/|$))[^/?]+")),
    Site("Steam", "steamcommunity.com", ("(id|profiles)/[^/?]+(/(friends|games|groups|inventory|badges))?",)),
    Site("Roblox", "roblox.com", ("users/[0-9]+(/(profile|friends|inventory|favorites))?", r"user\.aspx\?id=[0-9]+")),
    Site("OnlyFans", "onlyfans.com", ("NAME(/(media|photos|videos))?",), "my posts"),
    Site("Linktree", "linktr.ee", ("NAME",), "admin marketplace s templates"),
    Site("PayPal", "paypal.me", ("NAME(/[0-9.]+[a-z]*)?",)),
    Site("PayPal", "paypal.com", ("paypalme/[^/?]+(/[0-9.]+[a-z]*)?",)),
    Site("Cash App", "cash.app", (r"\$[^/?]+(/[0-9.]+)?",)),
    Site(
        "Mastodon",
        "mastodon.social mastodon.online mastodon.world mstdn.social mas.to fosstodon.org",
        (f"(web/)?{_HANDLE}", "users/[^/?]+"),
    ),
)


def refuse_profile_url(canonical: str) -> None:
    """Return if the address is not known to be an account's; of most of the web nothing is known.

    The text is brought to its canonical form first, so another spelling does not slip through.

    Raises:
        Rejected: an account's address (the hint names the type to use), or not an address at all.
    """
    site = profile_site(canonical)
    if site is not None:
        raise Rejected(Reason.INVALID, f"this url is the address of an account on {site}", hint=HINT)


def profile_site(text: str) -> str | None:
    """The name of the site if the address is an account's by the table, else None.

    Raises:
        Rejected: not an absolute ``http`` or ``https`` address.
    """
    found = _account(text)
    return None if found is None else found[0].name


def account_address(text: str) -> str:
    """Return an account's address as one text for all its spellings: site or host, a slash, and what names the account.

    Sub-domains, tabs of the account's page, letter case, and an ``@`` at the start are dropped.

    Raises:
        Rejected: not an absolute ``http`` or ``https`` address, or not known to be an account's.
    """
    found = _account(text)
    if found is None:
        raise Rejected(Reason.INVALID, "this is not known to be the address of an account")
    site, name, host = found
    place = host if site is ANYWHERE else site.name.lower()
    return f"{place}/{name.removeprefix('@').lower()}"


def _account(text: str) -> tuple[Site, str, str] | None:
    """Return the site, what names the account there, and the host; None if the address is not an account's."""
    url = URL(canonical_url(text))
    segments = [segment for segment in unquote(url.pathname).split("/") if segment]
    path = "/".join(segments)
    parameters = unquote(url.search.removeprefix("?")).split("&")
    # The shortest is tried first: what follows it is a tab of the account's page.
    names = ["/".join(segments[:count]) for count in range(1, len(segments))]
    candidates = (path, *(f"{path}?{parameter}" for parameter in parameters))
    for site in (*(site for site in SITES if _belongs(site, url.hostname)), ANYWHERE):
        pattern = _account_pattern(site)
        if any(map(pattern.fullmatch, candidates)):
            name = next(filter(pattern.fullmatch, (*names, *candidates)))
            return site, url.hostname.split(".")[0] if site.by_subdomain else name, url.hostname
    return None


@lru_cache(maxsize=256)
def _account_pattern(site: Site) -> re.Pattern[str]:
    """All account patterns of a row as one expression, with ``NAME`` filled in."""
    reserved = "|".join(re.escape(word) for word in f"{_COMMON_RESERVED} {site.reserved}".split())
    name = f"(?!(?:{reserved})(?:/|$))[^/?]+"
    patterns = "|".join(f"(?:{pattern.replace('NAME', name)})" for pattern in site.accounts)
    return re.compile(patterns, re.IGNORECASE | re.DOTALL)


def _belongs(site: Site, host: str) -> bool:
    """Whether the row is about this host."""
    for known in site.hosts.split():
        if host == known:
            return not site.by_subdomain
        if host.endswith(f".{known}"):
            before = host.removesuffix(f".{known}")
            return _is_usual(site, before) is not site.by_subdomain and "." not in before
    return False


def _is_usual(site: Site, subdomain: str) -> bool:
    """Whether a sub-domain shows the site's own pages (``www``, ``m``, ``de``, ``pt-br``)."""
    known = subdomain in _COMMON_SUBDOMAINS or subdomain in site.subdomains.split()
    return known or bool(_COUNTRY.fullmatch(subdomain))
