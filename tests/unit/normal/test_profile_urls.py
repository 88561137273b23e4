"""Account addresses are refused, content is not: the table, row by row."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exchange.errors import Reason, Rejected
from exchange.normal.profile_urls import ANYWHERE, SITES, profile_site, refuse_profile_url

ACCOUNTS = {
    "Facebook": """
        facebook.com/zuck www.facebook.com/zuck/ m.facebook.com/zuck mbasic.facebook.com/zuck?v=info
        de-de.facebook.com/Some.Name.1 fr.facebook.com/some.name touch.facebook.com/some.name fb.com/some.name
        facebook.com/profile.php?id=100001234567890 www.facebook.com/profile.php?sk=about&id=4
        facebook.com/people/Some-Name/100001234567890/ facebook.com/100001234567890 facebook.com/zuck/photos_by
        facebook.com/zuck/about facebook.com/pages/Some-Page/123456 facebook.com/pg/SomePage m.me/some.name
        messenger.com/t/some.name facebook.com/messages/t/1234 facebook.com//zuck facebook.com/%7Azuck
        facebook.com/p%72ofile.php?id=4 FACEBOOK.com/Zuck facebook.com./zuck facebook.com/profile.php?%69d=4
    """,
    "Instagram": """
        instagram.com/some_name www.instagram.com/some.name/ instagram.com/name/tagged/ instagram.com/name/reels
        instagram.com/name?igsh=abc= instagram.com/_u/name instagram.com/stories/name/ instagr.am/name
        ig.me/m/name
    """,
    "Threads": "threads.net/@name www.threads.com/@name/replies threads.com/@na.me",
    "X": """
        x.com/name twitter.com/Name/ mobile.twitter.com/name www.x.com/name?lang=de x.com/name/with_replies
        x.com/name/media x.com/name/followers twitter.com/@name x.com/i/user/12 twitter.com/intent/user?user_id=12
        twitter.com/intent/follow?ref=x&screen_name=name twitter.com/intent/user?screen_name=name
    """,
    "YouTube": """
        youtube.com/@handle www.youtube.com/@handle/videos m.youtube.com/@handle music.youtube.com/channel/UCabc
        youtube.com/channel/UCabc123 youtube.com/c/Name/about youtube.com/user/name youtube.com/%40handle
        youtube.com/@h%C3%A4ndle?sub_confirmation=1
    """,
    "TikTok": "tiktok.com/@name www.tiktok.com/@na.me?lang=en m.tiktok.com/@name/",
    "LinkedIn": """
        linkedin.com/in/some-name-123 www.linkedin.com/in/some-name/ uk.linkedin.com/in/name
        linkedin.com/in/name/de linkedin.com/pub/some-name/1/2/3 linkedin.com/in/name/details/experience
        linkedin.com/profile/view?id=12
    """,
    "Bluesky": """
        bsky.app/profile/name.bsky.social bsky.app/profile/did:plc:abc bsky.app/profile/a.b/followers
        name.bsky.social
    """,
    "Reddit": """
        reddit.com/user/name www.reddit.com/u/name old.reddit.com/user/name/ np.reddit.com/user/name/submitted
        reddit.com/user/name/comments/ reddit.com/u/name?sort=new
    """,
    "Telegram": "t.me/some_name t.me/s/some_name telegram.me/name telegram.dog/name t.me/+441632960001 name.t.me",
    "Snapchat": "snapchat.com/add/name www.snapchat.com/add/name?share_id=1 snapchat.com/@name snapchat.com/p/1-2-3",
    "Twitch": """
        twitch.tv/name www.twitch.tv/name/videos m.twitch.tv/name twitch.tv/popout/name/chat twitch.tv/name/clips
    """,
    "WhatsApp": """
        wa.me/441632960001 wa.me/+441632960001 wa.me/441632960001?text=hi wa.me/message/ABC wa.me/qr/ABC
        api.whatsapp.com/send?phone=441632960001 web.whatsapp.com/send/?text=a&phone=441632960001
    """,
    "Discord": "discord.com/users/123456789012345678 discordapp.com/users/123 ptb.discord.com/users/123",
    "VK": "vk.com/id123 vk.com/some_name m.vk.com/id1 vk.ru/name vk.com/friends?id=5 vk.com/photographer",
    "Odnoklassniki": "ok.ru/profile/123456 m.ok.ru/profile/123456/friends",
    "Truth Social": "truthsocial.com/@name truthsocial.com/@name/media truthsocial.com/users/name",
    "Gab": "gab.com/name gab.com/name/about",
    "Rumble": "rumble.com/user/name rumble.com/c/Name rumble.com/c/Name/videos",
    "BitChute": "bitchute.com/channel/abc www.bitchute.com/profile/abc/",
    "Kick": "kick.com/name kick.com/name/about",
    "GitHub": """
        github.com/name www.github.com/name/ github.com/name?tab=repositories gist.github.com/name
        github.com/sponsors/name
    """,
    "Pinterest": """
        pinterest.com/name uk.pinterest.com/name/ www.pinterest.co.uk/name pinterest.de/name/_saved
        pinterest.com.au/name
    """,
    "Tumblr": """
        tumblr.com/name www.tumblr.com/blog/name tumblr.com/blog/view/name name.tumblr.com
        some-name.tumblr.com/archive tumblr.com/dashboard/blog/name
    """,
    "Medium": "medium.com/@name name.medium.com medium.com/@name/followers name.medium.com/about",
    "Flickr": "flickr.com/people/name www.flickr.com/photos/12345@N00/",
    "Steam": "steamcommunity.com/id/name steamcommunity.com/profiles/76561197960287930/friends",
    "Roblox": "roblox.com/users/123/profile www.roblox.com/users/123 roblox.com/User.aspx?ID=123",
    "OnlyFans": "onlyfans.com/name onlyfans.com/name/media",
    "Linktree": "linktr.ee/name",
    "PayPal": "paypal.me/name paypal.me/name/20gbp www.paypal.com/paypalme/name",
    "Cash App": "cash.app/$name cash.app/%24name/20",
    "Mastodon": """
        mastodon.social/@name mastodon.social/users/name mstdn.social/web/@name@a.example mas.to/@name/media
    """,
    ANYWHERE.name: """
        social.example/@name any.example.org/@name@mastodon.social any.example/web/@name a.example:8443/@name/
        misskey.example/@name odd.example/%40name any.example/@name/with_replies any.example/@name/tagged/cats
    """,
}

NOT_ACCOUNTS = """
    facebook.com facebook.com/watch facebook.com/watch/?v=1 facebook.com/groups/123 facebook.com/events/1
    facebook.com/photo?fbid=1 facebook.com/photo.php?fbid=1&id=2 facebook.com/photo/?fbid=1
    facebook.com/zuck/posts/1
    facebook.com/zuck/videos/1 facebook.com/story.php?story_fbid=1&id=2 facebook.com/permalink.php?story_fbid=1&id=2
    facebook.com/marketplace facebook.com/hashtag/a facebook.com/login facebook.com/share/p/abc facebook.com/reel/1
    facebook.com/help/123 facebook.com/profile.php facebook.com/sharer/sharer.php?u=https://x.com/name
    developers.facebook.com/docs l.facebook.com/l.php?u=a about.facebook.com/news notfacebook.com/zuck
    facebook.com.example.org/zuck
    instagram.com/p/abc/ instagram.com/reel/abc instagram.com/reels/abc instagram.com/name/p/abc
    instagram.com/name/reel/abc instagram.com/explore/tags/a instagram.com/stories/name/123
    instagram.com/stories/highlights/1 instagram.com/accounts/login
    threads.net/@name/post/abc threads.net/t/abc
    x.com/name/status/123 twitter.com/name/status/123/photo/1 x.com/i x.com/i/status/1 x.com/search?q=a x.com/home
    x.com/hashtag/a twitter.com/intent/tweet?text=a x.com/explore x.com/settings/account x.com/i/lists/1 x.com/tos
    x.com/i/communities/1 help.x.com/en x.com/HOME
    youtube.com/watch?v=abc youtu.be/abc youtube.com/shorts/abc youtube.com/playlist?list=a youtube.com/live/abc
    youtube.com/feed/trending youtube.com/embed/abc youtube.com/results?search_query=@name youtube.com/hashtag/a
    tiktok.com/@name/video/123 tiktok.com/tag/a vm.tiktok.com/abc tiktok.com/@name/photo/1 tiktok.com/music/a-1
    linkedin.com/company/example linkedin.com/jobs/view/1 linkedin.com/feed/update/urn:li:activity:1
    linkedin.com/posts/name_a-activity-1 linkedin.com/pulse/a linkedin.com/groups/1
    bsky.app/profile/name.bsky.social/post/abc bsky.app/search bsky.app/profile/a.b/feed/c bsky.social
    reddit.com/r/pics reddit.com/r/pics/comments/a/b reddit.com/user/name/comments/a/b reddit.com/user/name/m/multi
    redd.it/abc reddit.com/user/me reddit.com/u/me/
    t.me/+AbCdEf t.me/joinchat/abc t.me/name/123 t.me/c/123/4 t.me/addstickers/a t.me/share/url?url=a
    t.me/proxy?server=a
    t.me
    snapchat.com/spotlight/abc snapchat.com/discover/a snapchat.com snapchat.com/lens/a
    twitch.tv/directory twitch.tv/videos/1 twitch.tv/name/clip/abc clips.twitch.tv/abc twitch.tv/p/legal
    twitch.tv/downloads
    chat.whatsapp.com/abc whatsapp.com/channel/abc faq.whatsapp.com/1 api.whatsapp.com/send?text=a
    discord.com/channels/1/2 discord.gg/abc discord.com/invite/abc discord.com/users/@me discord.com/app
    vk.com/wall-1_2 vk.com/photo1_2 vk.com/video-1_2 vk.com/feed vk.com/club1 vk.com/public1 vk.com/away.php?to=a
    vk.com/app1
    vk.com/wall1_2 vk.com/audio_playlist1_2
    ok.ru/video/1 ok.ru/group/1 ok.ru/profile/1/statuses/2
    truthsocial.com/@name/posts/1 truthsocial.com/@name/1 truthsocial.com/group/a
    gab.com/groups/1 gab.com/name/posts/1 gab.com/explore gab.com
    rumble.com/v1abc-title.html rumble.com/videos rumble.com/c/name/videos/extra
    bitchute.com/video/abc kick.com/categories kick.com/name/videos/abc kick.com/video/abc
    github.com/name/repo github.com/features github.com/orgs/a github.com/search?q=a github.com/name/repo/issues/1
    github.com/marketplace gist.github.com/name/abc raw.githubusercontent.com/a/b docs.github.com/en
    gist.github.com/starred
    pinterest.com/pin/123 pinterest.com/name/board pinterest.com/ideas/a/1 pinterest.com/today pin.it/abc
    tumblr.com/tagged/a name.tumblr.com/post/1/a tumblr.com/name/123/a www.tumblr.com tumblr.com/explore
    assets.tumblr.com staff.tumblr.com/archive tumblr.com
    medium.com/@name/a-title-1 medium.com/publication/a-title-1 medium.com medium.com/tag/a
    name.medium.com/a-title-1
    flickr.com/photos/name/123 flickr.com/groups/a flickr.com/photos/tags/a
    steamcommunity.com/app/1 steamcommunity.com/sharedfiles/filedetails/?id=1 roblox.com/games/1/a
    roblox.com/groups/1
    onlyfans.com/123/name onlyfans.com/my linktr.ee/name/a linktr.ee/marketplace paypal.com/uk/home cash.app/help
    mastodon.social/@name/113 mastodon.social/tags/a social.example/@name/113 any.example/a/@name any.example/@
    maps.example/maps/@51.5,-0.1,15z any.example/users/name any.example/name any.example/search?q=@name any.example
    registry.example/@scope/package any.example/a?next=/@name
"""

POSITIVES = [(site, f"https://{address}") for site, block in ACCOUNTS.items() for address in block.split()]


@pytest.mark.parametrize(("site", "address"), POSITIVES, ids=[address for _, address in POSITIVES])
def test_an_account_address_is_refused_and_pointed_to_the_pseudonym(site: str, address: str) -> None:
    assert profile_site(address) == site
    with pytest.raises(Rejected) as caught:
        refuse_profile_url(address)
    assert caught.value.reason is Reason.INVALID
    assert "pseudonym" in caught.value.hint
    assert "`profile_url`" in caught.value.hint
    assert address not in caught.value.diagnostics()


@pytest.mark.parametrize("address", NOT_ACCOUNTS.split())
def test_other_addresses_are_let_through(address: str) -> None:
    assert profile_site(f"https://{address}") is None
    refuse_profile_url(f"http://{address}")


def test_every_row_of_the_table_is_tried() -> None:
    assert {site.name for site in (*SITES, ANYWHERE)} == set(ACCOUNTS)


def test_the_rows_are_spelled_as_they_are_compared() -> None:
    for site in SITES:
        assert site.hosts == site.hosts.lower()
        assert site.reserved == site.reserved.lower()
        assert sorted(set(site.reserved.split())) == sorted(site.reserved.split()), f"{site.name} repeats a word"


@given(
    st.text()
    | st.builds(
        "https://{}{}/{}".format,
        st.sampled_from(["", "www.", "a."]),
        st.sampled_from(["x.com", "vk.com", "tumblr.com"]),
        st.text(),
    )
)
def test_any_text_gives_a_verdict_or_is_rejected(text: str) -> None:
    with suppress(Rejected):
        assert profile_site(text) in {None, *ACCOUNTS}


@given(st.from_regex(r"[a-z][a-z0-9_]{7,14}", fullmatch=True).map("zz{}".format))
def test_another_spelling_of_an_account_address_is_refused_too(name: str) -> None:
    escaped = "".join(f"%{ord(character):02x}" for character in name)
    for address in (f"https://x.com/{escaped}", f"http://WWW.X.com.:80//{name}/?a=b#c", f"https://x.com/a/../{name}"):
        assert profile_site(address) == "X"
