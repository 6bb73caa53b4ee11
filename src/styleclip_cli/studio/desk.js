// What belongs to the window as a whole: photos dropped on it or pasted, and the keys of undo and redo.
export default {
  template: `
    <div>
      <input ref="files" type="file" accept="image/*,.heic,.heif,.avif,.npz,.npy,.pt,.json,.toml,.csv" multiple hidden
        @change="send([...$event.target.files]); $event.target.value = ''" />
      <div class="veil" v-show="over"><div>Drop to open</div></div>
    </div>`,
  props: { url: String, limit: Number },
  emits: ["begin", "sending", "problem", "undo", "redo"],
  data: () => ({ over: false }),
  mounted() {
    this.depth = 0;
    this.listeners = {
      dragenter: (event) => this.carriesFiles(event) && (this.over = ++this.depth > 0),
      dragleave: (event) => this.carriesFiles(event) && (this.over = --this.depth > 0),
      dragover: (event) => event.preventDefault(),
      drop: (event) => {
        event.preventDefault();
        this.depth = 0;
        this.over = false;
        this.send([...(event.dataTransfer?.files ?? [])]);
      },
      paste: (event) => this.send([...(event.clipboardData?.files ?? [])]),
      keydown: (event) => this.pressed(event),
    };
    for (const [name, listener] of Object.entries(this.listeners)) window.addEventListener(name, listener);
  },
  unmounted() {
    for (const [name, listener] of Object.entries(this.listeners)) window.removeEventListener(name, listener);
  },
  methods: {
    choose() {
      this.$refs.files.click();
    },
    carriesFiles(event) {
      return [...(event.dataTransfer?.types ?? [])].includes("Files");
    },
    pressed(event) {
      const letter = event.key.toLowerCase();
      if (!(event.ctrlKey || event.metaKey) || event.altKey || !["z", "y"].includes(letter)) return;
      // In a field the keys take letters back, as everywhere.
      if (event.target.closest?.("textarea, input:not([type=range]):not([type=checkbox])")) return;
      event.preventDefault();
      this.$emit(letter === "y" || event.shiftKey ? "redo" : "undo");
    },
    async send(files) {
      if (!files.length) return;
      let left = files.length;
      this.$emit("begin");
      for (const file of files) {
        this.$emit("sending", left--);
        const problem = await this.sent(file);
        if (problem) this.$emit("problem", problem);
      }
      this.$emit("sending", 0);
    },
    async sent(file) {
      if (file.size > this.limit) return `${file.name}: larger than ${this.limit / 2 ** 20} MB`;
      try {
        const headers = { "X-Name": encodeURIComponent(file.name) };
        const answer = await fetch(this.url, { method: "POST", body: file, headers });
        return (await answer.json()).problem;
      } catch {
        return `${file.name}: did not arrive`;
      }
    },
  },
};
