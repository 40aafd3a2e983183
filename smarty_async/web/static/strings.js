// Every text of the two pages, in English and Russian. A text with forms is chosen by Intl.PluralRules.
"use strict";

const { text, reason, translate, language } = (() => {
  const STRINGS = {
    en: {
      pageTitle: "{title} – before and after",
      tagline: "Before and after",
      all: "All",
      restored: "Restored",
      already_good: "Already good",
      failed: "Failed",
      rejected: "Rejected",
      skipped: "Skipped",
      duplicate: "Duplicates",
      unfinished: "Not finished",
      oneRestored: "Restored",
      oneAlreadyGood: "Already good",
      oneFailed: "Failed",
      oneRejected: "Rejected",
      oneSkipped: "Skipped",
      oneDuplicate: "Duplicate",
      oneUnfinished: "Not finished",
      before: "Original",
      improved: "Improved",
      colorized_improved: "Improved, in colour",
      colorized: "In colour",
      resolved: "Enlarged",
      photos: { one: "{count} photo", other: "{count} photos" },
      folders: { one: "{count} folder", other: "{count} folders" },
      skip: "Skip to the photos",
      filter: "Show by outcome",
      folderList: "Folders",
      allFolders: "All folders",
      topFolder: "(top folder)",
      pictures: "Pictures of this photo",
      previous: "Previous photo",
      next: "Next photo",
      close: "Close",
      open: "Open the file",
      divider: "Slider between before and after",
      help: "← → move the slider · J and K next and previous photo · Esc close",
      loading: "Loading…",
      nothing: "No photos here.",
      loadFailed: "The photos could not be loaded. Is smarty-async view still running?",
      retry: "Try again",
      noPicture: "There is no picture to show.",
      missing: "Missing or unreadable: {pictures}.",
      moved: "If the photos were moved, run improve with the folder that they are in now: nothing is sent again.",
      alreadyGoodNote: "The service found nothing to improve: the original is kept.",
      unfinishedNote: "No run has finished this photo yet.",
      duplicateNote: "Same content as another photo.",
      serviceTitle: "smarty_async – restore photos",
      serviceHeading: "Restore old photos",
      serviceLead: "Drop photos here, compare before and after, download the result. They are sent to this service only.",
      dropHere: "Drop photos here",
      orChoose: "or",
      choose: "Choose photos",
      formats: "JPEG, PNG or TIFF",
      mode: "What to do",
      restore: "Restore",
      enlarge2: "Enlarge ×2",
      enlarge4: "Enlarge ×4",
      waiting: "Waiting…",
      working: "Working…",
      done: "Done",
      download: "Download: {picture}",
      good: "Already good: there is nothing to improve.",
      error: "It did not work: {reason}",
      noAnswer: "the service does not answer",
      engine: "Engine: {engine}",
      photosDone: { one: "{done} of {count} photo done", other: "{done} of {count} photos done" },
    },
    ru: {
      pageTitle: "{title} – до и после",
      tagline: "До и после",
      all: "Все",
      restored: "Восстановлены",
      already_good: "Уже хорошие",
      failed: "Не удались",
      rejected: "Отклонены",
      skipped: "Пропущены",
      duplicate: "Повторы",
      unfinished: "Не готовы",
      oneRestored: "Восстановлена",
      oneAlreadyGood: "Уже хорошая",
      oneFailed: "Не удалась",
      oneRejected: "Отклонена",
      oneSkipped: "Пропущена",
      oneDuplicate: "Повтор",
      oneUnfinished: "Не готова",
      before: "Оригинал",
      improved: "Улучшено",
      colorized_improved: "Улучшено, в цвете",
      colorized: "В цвете",
      resolved: "Увеличено",
      photos: {
        one: "{count} фотография",
        few: "{count} фотографии",
        many: "{count} фотографий",
        other: "{count} фотографии",
      },
      folders: { one: "{count} папка", few: "{count} папки", many: "{count} папок", other: "{count} папки" },
      skip: "Перейти к фотографиям",
      filter: "Показать по результату",
      folderList: "Папки",
      allFolders: "Все папки",
      topFolder: "(верхняя папка)",
      pictures: "Варианты этой фотографии",
      previous: "Предыдущая фотография",
      next: "Следующая фотография",
      close: "Закрыть",
      open: "Открыть файл",
      divider: "Граница между «до» и «после»",
      help: "← → двигают границу · J и K – следующая и предыдущая фотография · Esc – закрыть",
      loading: "Загрузка…",
      nothing: "Здесь нет фотографий.",
      loadFailed: "Не удалось загрузить фотографии. Работает ли ещё smarty-async view?",
      retry: "Повторить",
      noPicture: "Показать нечего.",
      missing: "Нет на месте или не читается: {pictures}.",
      moved: "Если фотографии перенесли, запустите improve с их новой папкой: заново ничего не отправится.",
      alreadyGoodNote: "Улучшать нечего: оригинал остался как есть.",
      unfinishedNote: "Эта фотография ещё не обработана до конца.",
      duplicateNote: "То же содержимое, что у другой фотографии.",
      serviceTitle: "smarty_async – восстановление фотографий",
      serviceHeading: "Восстановление старых фотографий",
      serviceLead: "Перетащите фотографии сюда, сравните «до» и «после», скачайте результат. Они отправляются только этой службе.",
      dropHere: "Перетащите фотографии сюда",
      orChoose: "или",
      choose: "Выбрать фотографии",
      formats: "JPEG, PNG или TIFF",
      mode: "Что сделать",
      restore: "Восстановить",
      enlarge2: "Увеличить ×2",
      enlarge4: "Увеличить ×4",
      waiting: "Ожидание…",
      working: "Обработка…",
      done: "Готово",
      download: "Скачать: {picture}",
      good: "Уже хорошая: улучшать нечего.",
      error: "Не получилось: {reason}",
      noAnswer: "служба не отвечает",
      engine: "Движок: {engine}",
      photosDone: {
        one: "Готово {done} из {count} фотографии",
        few: "Готово {done} из {count} фотографий",
        many: "Готово {done} из {count} фотографий",
        other: "Готово {done} из {count} фотографии",
      },
    },
  };

  // Why a photo was not restored, by the type of its error. In English the error's own sentence is shown.
  const REASONS = {
    ru: {
      not_an_image: "В этом файле нет изображения, которое можно прочитать.",
      empty: "Файл пуст.",
      truncated: "Файл обрывается: скопируйте его ещё раз.",
      damaged: "Файл повреждён: скопируйте его ещё раз.",
      animation: "Это анимация, а не фотография.",
      raw: "Для снимка в формате RAW не хватает декодера.",
      heic: "Для этого формата не хватает декодера.",
      unsupported: "Такое изображение прочитать нельзя: сохраните его как JPEG или PNG.",
      unreadable: "Файл не удалось прочитать.",
      unreadable_folder: "Папку не удалось прочитать: какие в ней фотографии, неизвестно.",
      not_downloaded: "Файл находится в iCloud, а не на этом диске: загрузите его.",
      too_large: "Фотография слишком большая для службы.",
      changed: "Файл изменился во время отправки.",
      temporary: "Служба не справилась с этой фотографией: попробуйте позже.",
      unanswered: "Служба не ответила на эту фотографию: попробуйте позже.",
      broken_output: "Служба прислала испорченный результат: попробуйте позже.",
      output_exists: "Файл с именем результата уже существует.",
      path_too_long: "Путь слишком длинный для этого диска.",
    },
  };

  const known = navigator.languages ?? [navigator.language];
  const language = known.map((tag) => tag.toLowerCase().split("-")[0]).find((tag) => tag in STRINGS) ?? "en";
  const plural = new Intl.PluralRules(language);
  const numbers = new Intl.NumberFormat(language);

  function text(key, values = {}) {
    const found = STRINGS[language][key];
    const form = typeof found === "string" ? found : (found[plural.select(values.count)] ?? found.other);
    return form.replace(/\{(\w+)\}/g, (_, name) =>
      typeof values[name] === "number" ? numbers.format(values[name]) : String(values[name]),
    );
  }

  function reason(error) {
    return REASONS[language]?.[error.type] ?? error.message;
  }

  // Fills in the elements that name their text: data-text, data-label (aria-label and title).
  function translate(root = document) {
    document.documentElement.lang = language;
    for (const element of root.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
    for (const element of root.querySelectorAll("[data-label]")) {
      element.setAttribute("aria-label", text(element.dataset.label));
    }
    for (const element of root.querySelectorAll("[data-title]")) element.title = text(element.dataset.title);
  }

  return { text, reason, translate, language };
})();
