"""The before/after page in a real browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from support import pictures
from support.browsing import Tab, Tabs
from support.journals import Entry, add_entries, make_output_folder, picture_entry

from smarty_async.report.page import view, write_static

if TYPE_CHECKING:
    from playwright.async_api import Route

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

MARKUP = "<img src=x onerror=alert(1)>.jpg"
LOADED = """image => image.complete && image.naturalWidth > 0"""


@pytest.fixture
def results(out: Path, source: Path) -> Path:
    entries = [
        picture_entry("a.jpg", "improved", "colorized_improved", "resolved", seed=1),
        picture_entry("b.jpg", "improved", seed=2),
        picture_entry(f"family/{MARKUP}", "improved", seed=3),
        Entry(name="family/scan.tif", outcome="already_good", original=pictures.tiff(300, 200)),
        Entry(name="z/bad.jpg", outcome="failed", original=b"no", error=("permanent", "<b>the service</b> said no")),
    ]
    return make_output_folder(out, source, entries)


@pytest_asyncio.fixture(loop_scope="session")
async def url(results: Path, tabs: Tabs) -> AsyncIterator[str]:
    async with view(results, open_browser=False) as address:
        yield address
        await tabs.close()


async def names(tab: Tab) -> list[str]:
    return await tab.locator(".card-name").all_text_contents()


async def slider_value(tab: Tab) -> int:
    return int(await tab.get_by_role("slider").get_attribute("aria-valuenow") or -1)


async def open_photo(tab: Tab, url: str, name: str) -> None:
    await tab.goto(url)
    await tab.locator(".card", has_text=name).click()
    await tab.locator("dialog[open]").wait_for()
    # Until its pictures have come, their places change their sizes.
    await tab.wait_for_function("() => [...document.querySelectorAll('dialog img')].every(image => image.complete)")


async def test_the_grid_shows_every_photo_by_folder(tab: Tab, url: str) -> None:
    await tab.goto(url)
    await tab.locator(".card").nth(4).wait_for()
    assert await names(tab) == ["a.jpg", "b.jpg", MARKUP, "scan.tif", "bad.jpg"]
    headings = await tab.locator("section h2").all_text_contents()
    assert headings == ["(top folder)2 photos", "family2 photos", "z1 photo"]
    for image in await tab.locator(".card img").all():
        await image.scroll_into_view_if_needed()
        await tab.wait_for_function(LOADED, arg=await image.element_handle())
    assert await tab.title() == "out – before and after"


async def test_the_filter_filters(tab: Tab, url: str) -> None:
    await tab.goto(url)
    await tab.get_by_role("button", name="Failed 1").click()
    reason = tab.locator(".reason")
    await reason.wait_for()
    assert await names(tab) == ["bad.jpg"]
    assert await reason.text_content() == "<b>the service</b> said no"
    await tab.get_by_role("button", name="Restored 3").click()
    await tab.locator(".card").nth(2).wait_for()
    assert await names(tab) == ["a.jpg", "b.jpg", MARKUP]
    await tab.get_by_role("button", name="family 2").click()
    await tab.locator(".card", has_text="b.jpg").wait_for(state="detached")
    await tab.locator(".card").first.wait_for()
    assert await names(tab) == [MARKUP]


async def test_the_mouse_moves_the_slider(tab: Tab, url: str) -> None:
    await open_photo(tab, url, "a.jpg")
    assert await slider_value(tab) == 50
    box = await tab.locator("before-after").bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    await tab.mouse.move(box["x"] + box["width"] / 2, middle)
    await tab.mouse.down()
    await tab.mouse.move(box["x"] + box["width"] / 4, middle)
    assert await slider_value(tab) == 25
    await tab.mouse.move(box["x"] - 50, middle)
    assert await slider_value(tab) == 0
    await tab.mouse.up()
    await tab.mouse.move(box["x"] + box["width"] / 2, middle)
    assert await slider_value(tab) == 0
    clip = await tab.locator(".before-after-before").evaluate("image => getComputedStyle(image).clipPath")
    assert clip.startswith(("inset(0px calc(100%", "inset(0px 100%"))


async def test_the_keyboard_moves_the_slider_and_turns_the_pages(tab: Tab, url: str) -> None:
    await open_photo(tab, url, "a.jpg")
    name = tab.locator("#viewer-name")
    for key, value in [("ArrowRight", 52), ("PageDown", 42), ("ArrowLeft", 40), ("Home", 0), ("End", 100)]:
        await tab.keyboard.press(key)
        assert await slider_value(tab) == value
    for key, photo in [("j", "b.jpg"), ("k", "a.jpg"), ("Shift+ArrowRight", "b.jpg"), ("j", f"family/{MARKUP}")]:
        await tab.keyboard.press(key)
        assert await name.text_content() == photo
    await tab.keyboard.press("Escape")
    await tab.locator("dialog").wait_for(state="hidden")
    # The browser tells the page of it a moment later: until then the focus is where it was when the dialog opened.
    focused = "name => document.activeElement.querySelector('.card-name')?.textContent === name"
    await tab.wait_for_function(focused, arg=MARKUP)


async def test_touch_moves_the_slider(tabs: Tabs, url: str) -> None:
    tab = await tabs.open(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    await tab.goto(url)
    await tab.locator(".card", has_text="a.jpg").tap()
    box = await tab.locator("before-after").bounding_box()
    assert box
    await tab.touchscreen.tap(box["x"] + box["width"] * 0.8, box["y"] + 20)
    assert await slider_value(tab) == 80
    touch = await tab.context.new_cdp_session(tab)
    for kind, share in [("touchStart", 0.8), ("touchMove", 0.6), ("touchMove", 0.3)]:
        point = {"x": box["x"] + box["width"] * share, "y": box["y"] + 30}
        await touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    await touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert await slider_value(tab) == 30
    width = await tab.evaluate("document.documentElement.scrollWidth")
    assert width == 390  # nothing sticks out


async def test_back_closes_a_photo_and_takes_a_filter_back(tab: Tab, url: str) -> None:
    await tab.goto(url)
    viewer, all_photos = tab.locator("dialog[open]"), tab.get_by_role("button", name="All 5")
    await tab.get_by_role("button", name="Restored 3").click()
    await tab.locator(".card", has_text="a.jpg").click()
    await viewer.wait_for()
    await tab.keyboard.press("j")
    await tab.go_back()
    await viewer.wait_for(state="detached")
    assert len(await names(tab)) == 3
    await tab.go_forward()
    await viewer.wait_for()
    assert await tab.locator("#viewer-name").text_content() == "b.jpg"
    await tab.keyboard.press("Escape")
    await viewer.wait_for(state="detached")
    for photo in ("a.jpg", "b.jpg"):  # photos that were closed do not pile up behind Back
        await tab.locator(".card", has_text=photo).click()
        await viewer.wait_for()
        await tab.keyboard.press("Escape")
        await viewer.wait_for(state="detached")
        await tab.wait_for_function("() => !location.hash.includes('photo')")
    await tab.go_back()
    await tab.go_back()
    await tab.locator(".card").nth(4).wait_for()
    assert await all_photos.get_attribute("aria-pressed") == "true"


async def test_a_link_and_a_reload_find_filter_folder_and_photo_again(tabs: Tabs, out: Path, source: Path) -> None:
    many = [Entry(name=f"{number:03}.jpg", outcome="already_good") for number in range(150)]
    many += [picture_entry("z/last.jpg", "improved"), Entry(name="z/bad.jpg", outcome="failed")]
    async with view(make_output_folder(out, source, many), open_browser=False) as url:
        tab = await tabs.open()
        await tab.goto(url)
        await tab.get_by_role("button", name="z 2").click()
        await tab.get_by_role("button", name="Restored 1").click()
        await tab.locator(".card", has_text="last.jpg").click()
        await tab.locator("dialog[open]").wait_for()
        photo = await tab.evaluate("new URLSearchParams(location.hash.slice(1)).get('photo')")
        await tab.reload()
        await tab.locator("dialog[open]").wait_for()
        await tab.keyboard.press("Escape")
        await tab.locator("dialog").wait_for(state="hidden")
        pressed = await tab.locator("[aria-pressed=true]").all_text_contents()
        assert (pressed, await names(tab)) == (["Restored 1", "z 2"], ["last.jpg"])
        await tab.goto(f"{url}#photo={photo}")  # of a photo that is not among the first
        await tab.locator("dialog[open]").wait_for()
        assert await tab.locator("#viewer-name").text_content() == "z/last.jpg"
        for unknown in ("photo=999999", "folder=999999", "state=<b>&photo=x&folder=-1"):
            await tab.goto("about:blank")
            await tab.goto(f"{url}#{unknown}")
            await tab.locator(".card").first.wait_for()
            assert (await names(tab))[0] == "000.jpg"
            assert not await tab.locator("dialog").is_visible()
        await tabs.close()


async def test_only_an_output_that_was_chosen_is_shown_of_the_next_photo(tab: Tab, url: str) -> None:
    shown = tab.locator("#pictures [aria-pressed=true]")
    await open_photo(tab, url, "b.jpg")  # it has one output
    await tab.keyboard.press("k")
    assert await shown.text_content() == "Improved, in colour"
    await tab.get_by_role("button", name="Enlarged").click()
    await tab.keyboard.press("j")
    await tab.keyboard.press("k")
    assert await shown.text_content() == "Enlarged"


async def test_a_screen_reader_hears_the_name_of_a_photo_first(tab: Tab, url: str) -> None:
    await tab.goto(url)
    await tab.get_by_role("button", name="a.jpg Restored", exact=True).wait_for()
    await tab.get_by_role("button", name="bad.jpg Failed <b>the service</b> said no", exact=True).wait_for()
    await open_photo(tab, url, "a.jpg")
    assert await tab.locator("[aria-live=polite] #viewer-name").count() == 1


async def test_the_first_tab_stop_leads_past_filters_and_folders(tab: Tab, url: str) -> None:
    await tab.goto(url)
    await tab.locator(".card").first.wait_for()
    await tab.keyboard.press("Tab")
    await tab.keyboard.press("Enter")
    assert await tab.evaluate("document.activeElement.querySelector('.card-name').textContent") == "a.jpg"


async def test_outputs_to_switch_between(tab: Tab, url: str) -> None:
    await open_photo(tab, url, "a.jpg")
    after = tab.locator(".before-after-after")
    choices = tab.locator("#pictures button")
    assert await choices.all_text_contents() == ["Improved, in colour", "Improved", "Enlarged"]
    assert "/colorized_improved?" in (await after.get_attribute("src") or "")
    await choices.nth(2).click()
    assert "/resolved?" in (await after.get_attribute("src") or "")
    assert await choices.nth(2).get_attribute("aria-pressed") == "true"
    await tab.wait_for_function(LOADED, arg=await after.element_handle())


async def test_a_name_with_markup_is_text(tab: Tab, url: str) -> None:
    await open_photo(tab, url, "onerror")
    assert await tab.locator("#viewer-name").text_content() == f"family/{MARKUP}"
    assert await tab.locator("img[src=x]").count() == 0
    await tab.keyboard.press("j")
    image = tab.locator("#stage > img")  # a TIFF, as a JPEG
    await tab.wait_for_function(LOADED, arg=await image.element_handle())
    await tab.keyboard.press("j")
    assert await tab.locator("#viewer-note").text_content() == "<b>the service</b> said no"


async def test_russian(tabs: Tabs, url: str) -> None:
    tab = await tabs.open(locale="ru-RU")
    await tab.goto(url)
    await tab.locator(".card").first.wait_for()
    assert await tab.locator("#total").text_content() == "5 фотографий · 3 папки"
    assert await tab.locator("html").get_attribute("lang") == "ru"
    assert await tab.get_by_role("button", name="Не удались 1").is_visible()


@pytest.mark.parametrize(
    ("locale", "reasons"), [("ru", ["Файл пуст.", "busy: 7"]), ("en", ["it is empty: 0 bytes", "busy: 7"])]
)
async def test_reasons_are_in_the_language_of_the_page(
    tabs: Tabs, out: Path, source: Path, locale: str, reasons: list[str]
) -> None:
    entries = [
        Entry(name="a.jpg", outcome="rejected", error=("empty", "it is empty: 0 bytes")),
        Entry(name="b.jpg", outcome="failed", error=("permanent", "busy: 7")),  # the service's own words
    ]
    async with view(make_output_folder(out, source, entries), open_browser=False) as url:
        tab = await tabs.open(locale=locale)
        await tab.goto(url)
        await tab.locator(".reason").nth(1).wait_for()
        assert await tab.locator(".reason").all_text_contents() == reasons
        await tabs.close()


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
async def test_dark_and_light(tabs: Tabs, url: str, scheme: str, *, dark: bool) -> None:
    tab = await tabs.open(color_scheme=scheme)
    await tab.goto(url)
    colour = await tab.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
    assert (brightness < 3 * 128) == dark


async def test_scrolling_loads_what_follows(tabs: Tabs, out: Path, source: Path) -> None:
    many = [Entry(name=f"{number:03}.jpg", outcome="already_good") for number in range(250)]
    async with view(make_output_folder(out, source, many), open_browser=False) as url:
        tab = await tabs.open()
        await tab.goto(url)
        await tab.locator(".card").nth(59).wait_for()
        while await tab.locator(".card").count() < 250:
            await tab.mouse.wheel(0, 5000)
            await tab.wait_for_timeout(20)
        assert await names(tab) == [entry.name for entry in many]
        await tabs.close()


async def test_a_folder_that_a_run_adds_meanwhile_has_its_heading(tabs: Tabs, out: Path, source: Path) -> None:
    many = [Entry(name=f"a/{number:03}.jpg", outcome="already_good") for number in range(200)]
    async with view(make_output_folder(out, source, many), open_browser=False) as url:
        tab = await tabs.open()
        await tab.goto(url)
        await tab.locator(".card").nth(59).wait_for()
        await asyncio.to_thread(add_entries, out, source, [picture_entry("new/one.jpg", "improved")])
        while await tab.locator(".card").count() < 201:
            await tab.mouse.wheel(0, 5000)
            await tab.wait_for_timeout(20)
        heading = tab.locator("section", has=tab.locator(".card", has_text="one.jpg")).locator("h2")
        assert await heading.text_content() == "new1 photo"
        assert await tab.locator("#total").text_content() == "201 photos · 2 folders"
        assert await tab.locator("#folders button").count() == 3
        await tabs.close()


@pytest.mark.parametrize("target", ["page.html", "page"])
async def test_the_written_page_needs_no_server(tab: Tab, results: Path, tmp_path: Path, target: str) -> None:
    write_static(results, tmp_path / target)
    page = tmp_path / target if target.endswith(".html") else tmp_path / target / "index.html"
    await open_photo(tab, page.as_uri(), "a.jpg")
    await tab.wait_for_function(LOADED, arg=await tab.locator(".before-after-before").element_handle())
    await tab.keyboard.press("ArrowRight")
    assert await slider_value(tab) == 52
    await tab.keyboard.press("Escape")
    await tab.get_by_role("button", name="Failed 1").click()
    assert await names(tab) == ["bad.jpg"]
    await tab.go_back()
    assert len(await names(tab)) == 5
    await tab.go_forward()
    await tab.reload()
    assert await names(tab) == ["bad.jpg"]


async def test_every_text_is_there_in_both_languages(tab: Tab, url: str) -> None:
    await tab.goto(url)
    keys = await tab.evaluate(
        """async () => {
            const source = await (await fetch("assets/strings.js")).text();
            const table = source.slice(source.indexOf("STRINGS = ") + 10, source.indexOf("\\n  };") + 4);
            const keys = (name) => [...table.split(`    ${name}: {`)[1].split("\\n    },")[0]
                .matchAll(/^      (\\w+):/gm)].map((found) => found[1]);
            return { en: keys("en"), ru: keys("ru") };
        }"""
    )
    assert keys["en"] == keys["ru"]
    assert len(keys["en"]) > 50


@pytest.mark.parametrize("size", [(1200, 40), (30, 1200)], ids=["wide", "tall"])
@pytest.mark.parametrize("width", [375, 1280])
async def test_the_labels_fit_beside_a_narrow_strip(
    tabs: Tabs, out: Path, source: Path, size: tuple[int, int], width: int
) -> None:
    strip = pictures.encoded(pictures.scene(*size))
    entry = Entry(name="strip.jpg", original=strip, outputs={"improved": strip})
    tab = await tabs.open(viewport={"width": width, "height": 700})
    async with view(make_output_folder(out, source, [entry]), open_browser=False) as url:
        await open_photo(tab, url, "strip.jpg")
        box = await tab.locator("before-after").bounding_box()
        stage = await tab.locator("#stage").bounding_box()
        labels = [await label.bounding_box() for label in await tab.locator(".before-after-label").all()]
        await tabs.close()
    assert box
    assert stage
    assert box["width"] <= stage["width"]
    assert box["height"] <= stage["height"]
    assert len(labels) == 2
    for label in labels:
        assert label
        assert label["height"] < 30  # one line
        assert box["x"] <= label["x"] <= label["x"] + label["width"] <= box["x"] + box["width"]
        assert box["y"] <= label["y"] <= label["y"] + label["height"] <= box["y"] + box["height"]


async def test_a_long_name_is_cut_off_with_the_whole_of_it_as_a_hint(tabs: Tabs, out: Path, source: Path) -> None:
    name = "album_of_the_family/" + "a_long_name_of_a_photo_" * 9 + ".jpg"
    tab = await tabs.open(viewport={"width": 375, "height": 700})
    async with view(make_output_folder(out, source, [picture_entry(name, "improved")]), open_browser=False) as url:
        await open_photo(tab, url, ".jpg")
        for selector, lines in [(".card-name", 3), ("#viewer-name", 2)]:
            heading = tab.locator(selector)
            assert await heading.get_attribute("title") == name
            line = await heading.evaluate("element => parseFloat(getComputedStyle(element).lineHeight)")
            height = await heading.evaluate("element => element.clientHeight")
            assert height <= lines * line + 1
            assert await heading.evaluate("element => getComputedStyle(element).webkitLineClamp") == str(lines)
        await tabs.close()


async def test_a_name_from_right_to_left_stands_as_it_is_written(tabs: Tabs, out: Path, source: Path) -> None:
    name = "صور العائلة/صورة ١٩٥٦.jpg"
    entries = [picture_entry(name, "improved"), picture_entry("a.jpg", "improved")]
    tab = await tabs.open()
    # Where the first letter and the end of its name are drawn.
    edges = """element => [0, element.textContent.length - 1].map((position) => {
        const range = document.createRange();
        range.setStart(element.firstChild, position);
        range.setEnd(element.firstChild, position + 1);
        return range.getBoundingClientRect().left;
    })"""
    async with view(make_output_folder(out, source, entries), open_browser=False) as url:
        await open_photo(tab, url, "صورة")
        await tab.keyboard.press("Escape")
        first, end = await tab.locator(".card-name", has_text="صورة").evaluate(edges)
        left = await tab.locator(".card-name").evaluate_all(
            "names => names.map(name => name.getBoundingClientRect().left)"
        )
        heading = await tab.locator("section h2 bdi").all_text_contents()
        await tabs.close()
    assert end < first
    assert end - min(left) < 40  # it begins at the same side as the other names
    assert heading == ["(top folder)", "صور العائلة"]


async def test_a_printed_page_shows_photos_in_rows_and_no_buttons(tab: Tab, url: str) -> None:
    await tab.goto(url)
    await tab.locator(".card").nth(4).wait_for()
    await tab.emulate_media(media="print", color_scheme="dark")
    try:
        ink = await tab.evaluate("getComputedStyle(document.body).color")
        boxes = [await card.bounding_box() for card in await tab.locator(".card").all()]
        shown = [await tab.locator(selector).is_visible() for selector in ("#filters", "#folders")]
        kept = await tab.locator(".grid > li").first.evaluate("item => getComputedStyle(item).breakInside")
        drawn = await tab.locator(".grid > li").first.evaluate("item => getComputedStyle(item).contentVisibility")
    finally:
        await tab.emulate_media(media="screen", color_scheme="light")
    assert boxes[0]
    assert boxes[1]
    assert boxes[0]["y"] == boxes[1]["y"]
    assert shown == [False, False]
    assert (kept, drawn) == ("avoid", "visible")
    assert ink == "rgb(34, 30, 26)"  # paper is white, whatever the screen is


async def test_photos_below_the_window_are_printed_too(tabs: Tabs, out: Path, source: Path) -> None:
    many = [picture_entry(f"{number:02}.jpg", seed=number, outcome="already_good") for number in range(50)]
    async with view(make_output_folder(out, source, many), open_browser=False) as url:
        tab = await tabs.open(viewport={"width": 500, "height": 400})
        await tab.goto(url)
        await tab.locator(".card").nth(49).wait_for()
        await tab.pdf()  # does not wait for pictures
        await tab.wait_for_function(
            "() => [...document.images].every(image => image.complete && image.naturalWidth > 0)"
        )
        await tabs.close()


@pytest.mark.parametrize("size", [(360, 640), (740, 360)])
async def test_a_long_reason_leaves_room_for_the_photo(
    tabs: Tabs, out: Path, source: Path, size: tuple[int, int]
) -> None:
    reason = "The service did not like this photo, and says so at length. " * 40
    entry = Entry(name="a.jpg", outcome="failed", original=pictures.jpeg(), error=("permanent", reason))
    async with view(make_output_folder(out, source, [entry]), open_browser=False) as url:
        tab = await tabs.open(viewport={"width": size[0], "height": size[1]})
        await open_photo(tab, url, "a.jpg")
        photo = await tab.locator("#stage img").bounding_box()
        note = await tab.locator("#viewer-note").bounding_box()
        buttons = [await tab.locator(button).bounding_box() for button in ("#previous", "#next", "#open")]
        await tabs.close()
    assert photo
    assert note
    assert photo["height"] > 40
    assert photo["y"] + photo["height"] <= note["y"]
    for button in buttons:
        assert button
        assert button["y"] + button["height"] <= size[1]
        assert button["y"] + button["height"] <= note["y"] or button["y"] >= note["y"] + note["height"]


async def test_a_page_enlarged_four_times_scrolls_to_what_has_no_room(tabs: Tabs, url: str) -> None:
    tab = await tabs.open(viewport={"width": 320, "height": 256})
    await open_photo(tab, url, "a.jpg")
    photo = await tab.locator("before-after").bounding_box()
    buttons = await tab.locator("#next").bounding_box()
    chips = await tab.locator("#pictures button").first.bounding_box()
    assert photo
    assert buttons
    assert chips
    assert photo["height"] > 100
    assert photo["y"] + photo["height"] <= buttons["y"]
    assert buttons["y"] + buttons["height"] <= chips["y"]
    await tab.locator("#open").scroll_into_view_if_needed()
    end = await tab.locator("#open").bounding_box()
    assert end
    assert end["y"] + end["height"] <= 256


async def test_the_slider_says_that_it_waits_for_a_picture(tab: Tab, url: str) -> None:
    come = asyncio.Event()

    async def wait(route: Route) -> None:
        await come.wait()
        await route.continue_()

    await tab.route("**/pictures/*/before*", wait)
    await tab.goto(url)
    await tab.locator(".card", has_text="a.jpg").click()
    sign = "element => getComputedStyle(element, '::before').content"
    slider = tab.locator("before-after.loading")
    await tab.wait_for_function(LOADED, arg=await tab.locator(".before-after-after").element_handle())
    assert await slider.evaluate(sign) == '"Loading…"'
    come.set()
    await slider.wait_for(state="detached")
    await tab.unroute("**/pictures/*/before*")


async def test_the_page_says_that_it_waits_for_the_journal(tab: Tab, url: str) -> None:
    come = asyncio.Event()

    async def wait(route: Route) -> None:
        await come.wait()
        await route.continue_()

    await tab.route("**/api/*", wait)
    await tab.goto(url)
    await tab.get_by_text("Loading…").wait_for()
    come.set()
    await tab.locator(".card").nth(4).wait_for()
    assert await tab.locator("#message").text_content() == ""
    await tab.unroute("**/api/*")


async def test_the_viewer_says_that_the_server_is_gone(tabs: Tabs, results: Path) -> None:
    tab = await tabs.open()
    async with view(results, open_browser=False) as url:
        await tab.goto(url)
        await tab.locator(".card").nth(4).wait_for()
    for photo, note in [("a.jpg", "#viewer-note"), ("scan.tif", "#stage p")]:
        await tab.locator(".card", has_text=photo).click()
        await tab.locator(note, has_text="Is smarty-async view still running?").wait_for()
        await tab.keyboard.press("Escape")
    assert [one for one in tabs.complaints if "Failed to load resource" not in one] == []
    tabs.complaints.clear()
    await tabs.close()


async def test_the_viewer_says_which_files_are_missing(tab: Tab, tabs: Tabs, results: Path, source: Path) -> None:
    (source / "b.jpg").unlink()
    (results / "improved" / "a.jpg").unlink()
    (results / "resolved" / "a.jpg").unlink()
    async with view(results, open_browser=False) as url:
        await open_photo(tab, url, "a.jpg")
        note = tab.locator("#viewer-note")
        assert await note.text_content() == "Missing or unreadable: Improved · Enlarged."
        await tab.keyboard.press("j")
        assert (await note.text_content() or "").startswith(
            "Missing or unreadable: Original. If the photos were moved,"
        )
        await tab.keyboard.press("j")
        assert await note.text_content() == ""
        await tabs.close()


async def test_without_javascript_the_page_says_that_it_needs_it(tabs: Tabs, url: str) -> None:
    tab = await tabs.open(java_script_enabled=False)
    await tab.goto(url)
    assert await tab.locator(".noscript").is_visible()
    assert not await tab.locator("header.top").is_visible()
