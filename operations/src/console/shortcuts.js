// Keys for those who use them, and pages that follow what is under way. Every page works without this.
'use strict'
let after_g = false
document.addEventListener('keydown', event => {
  const field = event.target.closest('input, textarea, select')
  if (event.ctrlKey || event.metaKey || event.altKey || field) return
  const help = document.getElementById('help')
  const link = after_g && document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`)
  after_g = event.key === 'g' && !link
  if (link) link.click()
  else if (event.key === '/') document.getElementById('q')?.focus()
  else if (event.key === '?') help?.showModal()
  else return
  event.preventDefault()
})

// A page that says `data-follow` is read again until it no longer does, but never under the hands of someone who is using it.
const follow = () => {
  const main = document.getElementById('main')
  if (!main?.querySelector('[data-follow]')) return
  const is_used = () => main.contains(document.activeElement) || main.querySelector('details[open]')
  setTimeout(async () => {
    const answer = is_used() ? null : await fetch(location.href).catch(() => null)
    const read = answer?.ok && new DOMParser().parseFromString(await answer.text(), 'text/html')
    if (read && !is_used()) main.replaceChildren(...(read.getElementById('main')?.childNodes ?? main.childNodes))
    follow()
  }, 2000)
}
follow()
