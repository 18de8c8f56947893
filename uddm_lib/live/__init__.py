"""Models that a person plays with: the live page, and the widget of notebook 3.

The live page is one HTML file with small runs in it, and a browser runs the models by itself.

The command ``page`` writes it. ``contents`` says what the file holds of the runs, ``html_page``
puts it together with the page's own files: ``live.html``, ``live.css`` and the scripts.
``network.js``, ``tokens.js`` and ``process.js`` do what the package does, ``view.js``,
``chooser.js`` and ``controls.js`` show it. ``typed_text`` is the widget.
"""
