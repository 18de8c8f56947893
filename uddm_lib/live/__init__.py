"""The live page: small runs in one HTML file, where a browser runs the models by itself.

The command ``page`` writes it. ``contents`` says what the file holds of the runs, ``html_page``
puts it together with the page's own files: ``live.html``, ``live.css`` and the scripts.
``network.js``, ``tokens.js`` and ``process.js`` do what the package does, ``view.js``,
``chooser.js`` and ``controls.js`` show it.
"""
